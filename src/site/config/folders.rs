//! The folders in which WordPress finds a site's content, as expressions in
//! wp-config.php name them: `WP_CONTENT_DIR` and the constants beside it.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use php_ast::{ArgKind, BinaryOp, Expr, ExprKind, MagicConstKind};

use crate::site::config::bounds::MAX_PATH;
use crate::site::config::reader::Reader;
use crate::site::config::value::{bare, function_name, global_name};

pub const CONTENT: &str = "WP_CONTENT_DIR";
pub const PLUGINS: &str = "WP_PLUGIN_DIR";
pub const MUST_USE: &str = "WPMU_PLUGIN_DIR";

/// Whether a constant names one of these folders.
pub fn is_folder(name: &str) -> bool {
    [CONTENT, PLUGINS, MUST_USE].contains(&name)
}

/// What the file says of each folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folders {
    pub content: Stated,
    pub plugins: Stated,
    pub must_use: Stated,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Stated {
    /// Nothing: WordPress uses its default.
    #[default]
    Nothing,
    /// Nothing that can be read, but there is code that may define any constant.
    Perhaps,
    /// Something that only WordPress can evaluate.
    Unclear,
    Plainly(Folder),
}

/// A folder, as an expression names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    base: Base,
    /// What follows the base, which may contain `..`.
    below: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Base {
    Root,
    /// The folder of wp-config.php.
    Config,
    /// The WordPress folder, `ABSPATH`.
    WordPress,
}

impl Folder {
    /// Its path. PHP has resolved links in both folders.
    pub fn path(&self, config: &Path, wordpress: &Path) -> PathBuf {
        let base = match self.base {
            Base::Root => Path::new("/"),
            Base::Config => config,
            Base::WordPress => wordpress,
        };
        let mut path = base.to_owned();
        for part in Path::new(&self.below).components() {
            match part {
                Component::ParentDir => drop(path.pop()),
                Component::Normal(name) => path.push(name),
                _ => {}
            }
        }
        path
    }

    /// The same in a file that wp-config.php includes by this path.
    pub fn in_file(mut self, file: &str) -> Self {
        if self.base == Base::Config {
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.below = format!("/{folder}/{}", self.below);
            if file.starts_with('/') {
                self.base = Base::Root;
            }
        }
        self
    }

    fn parent(mut self) -> Self {
        self.below.push_str("/..");
        self
    }
}

/// The folders that constants and variables hold so far.
pub type KnownFolders = HashMap<String, Folder>;

/// The folder that an expression names; `None` if that cannot be evaluated.
pub fn folder(expr: &Expr<'_, '_>, reader: &Reader<'_>, known: &KnownFolders) -> Option<Folder> {
    let mut parts = Vec::new();
    let mut first = bare(expr);
    while let ExprKind::Binary(binary) = &first.kind
        && binary.op == BinaryOp::Concat
    {
        parts.push(binary.right);
        first = bare(binary.left);
    }
    let mut found = base(first, reader, known)?;
    for part in parts.into_iter().rev() {
        found.below.push_str(&reader.value(part).text()?);
    }
    Some(found).filter(|it| it.below.len() <= MAX_PATH)
}

fn base(expr: &Expr<'_, '_>, reader: &Reader<'_>, known: &KnownFolders) -> Option<Folder> {
    let at = |base, below: &str| {
        Some(Folder {
            base,
            below: below.to_owned(),
        })
    };
    match &expr.kind {
        ExprKind::MagicConst(MagicConstKind::Dir) => at(Base::Config, ""),
        ExprKind::MagicConst(MagicConstKind::File) => at(Base::Config, "/wp-config.php"),
        ExprKind::Name(name) => match global_name(name, reader.view)? {
            "ABSPATH" => at(Base::WordPress, "/"),
            name => match known.get(name) {
                Some(folder) => Some(folder.clone()),
                None => absolute(expr, reader),
            },
        },
        ExprKind::Variable(name) => known.get(&format!("${}", name.as_str())).cloned(),
        ExprKind::FunctionCall(call) => {
            let value = |at: usize| match &call.args.get(at)?.kind {
                ArgKind::Value(value) => Some(value),
                _ => None,
            };
            let inner = folder(value(0)?, reader, known)?;
            let levels = match value(1) {
                Some(levels) => reader.value(levels).text()?.parse().ok()?,
                None => 1u8,
            };
            match function_name(call, reader.view)?.as_str() {
                "dirname" => Some((0..levels).fold(inner, |folder, _| folder.parent())),
                "realpath" => Some(inner),
                _ => None,
            }
        }
        ExprKind::StaticMethodCall(call) => match reader.collected_name(call) {
            Some(name) if known.contains_key(&collected_key(&name)) => {
                known.get(&collected_key(&name)).cloned()
            }
            _ => absolute(expr, reader),
        },
        _ => absolute(expr, reader),
    }
}

/// The key of what `Config::define` has collected under a name.
pub fn collected_key(name: &str) -> String {
    format!("::{name}")
}

fn absolute(expr: &Expr<'_, '_>, reader: &Reader<'_>) -> Option<Folder> {
    let below = reader.value(expr).text()?;
    below.starts_with('/').then_some(Folder {
        base: Base::Root,
        below,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::config::scan;

    #[track_caller]
    fn content(lines: &str, included: &str) -> Option<PathBuf> {
        let text = format!("<?php\n{lines}\nrequire_once ABSPATH . 'wp-settings.php';\n");
        let include = |name: &[u8]| {
            (name == b"sub/inc.php").then(|| format!("<?php\n{included}").into_bytes())
        };
        match scan(text.as_bytes(), &include).unwrap().folders.content {
            Stated::Plainly(folder) => {
                Some(folder.path(Path::new("/srv/site"), Path::new("/srv/site/wp")))
            }
            _ => None,
        }
    }

    #[test]
    fn plain_definitions_are_evaluated() {
        for (lines, expected) in [
            ("define( 'WP_CONTENT_DIR', '/srv/c' );", "/srv/c"),
            ("define( 'WP_CONTENT_DIR', '/srv/c/' );", "/srv/c"),
            ("const WP_CONTENT_DIR = __DIR__ . '/c';", "/srv/site/c"),
            (
                "define( 'WP_CONTENT_DIR', dirname( __FILE__ ) . '/c' );",
                "/srv/site/c",
            ),
            (
                "define( 'WP_CONTENT_DIR', dirname( __DIR__ ) . '/c' );",
                "/srv/c",
            ),
            (
                "define( 'WP_CONTENT_DIR', dirname( __FILE__, 2 ) . '/c' );",
                "/srv/c",
            ),
            (
                "define( 'WP_CONTENT_DIR', realpath( __DIR__ . '/../c' ) );",
                "/srv/c",
            ),
            (
                "define( 'WP_CONTENT_DIR', ABSPATH . 'c' );",
                "/srv/site/wp/c",
            ),
            (
                "define( 'WP_CONTENT_DIR', dirname( ABSPATH ) . '/c' );",
                "/srv/site/c",
            ),
            (
                "define( 'TOP', __DIR__ ); define( 'WP_CONTENT_DIR', TOP . '/' . 'c' );",
                "/srv/site/c",
            ),
            (
                "$top = dirname( __DIR__ ); define( 'WP_CONTENT_DIR', $top . '/c' );",
                "/srv/c",
            ),
            (
                "define( 'TOP', '/srv' ); define( 'WP_CONTENT_DIR', TOP . '/c' );",
                "/srv/c",
            ),
            (
                "if ( ! defined( 'WP_CONTENT_DIR' ) ) { define( 'WP_CONTENT_DIR', '/srv/c' ); }",
                "/srv/c",
            ),
        ] {
            assert_eq!(content(lines, ""), Some(expected.into()), "{lines}");
        }
        let here = content(
            "require __DIR__ . '/sub/inc.php';",
            "define( 'WP_CONTENT_DIR', __DIR__ . '/c' );",
        );
        assert_eq!(here, Some("/srv/site/sub/c".into()));
    }

    #[test]
    fn the_rest_is_left_to_wordpress() {
        for lines in [
            "define( 'WP_CONTENT_DIR', $_SERVER['DOCUMENT_ROOT'] . '/c' );",
            "define( 'WP_CONTENT_DIR', getenv( 'CONTENT' ) );",
            "define( 'WP_CONTENT_DIR', 'relative' );",
            "if ( $x ) { define( 'WP_CONTENT_DIR', '/srv/c' ); }",
            "if ( $x ) { $top = '/a'; } define( 'WP_CONTENT_DIR', $top . '/c' );",
            "$top = __DIR__; if ( $x ) { $top = '/a'; } define( 'WP_CONTENT_DIR', $top . '/c' );",
            "$top = __DIR__; $top .= '/x'; define( 'WP_CONTENT_DIR', $top . '/c' );",
            "Config::define( 'WP_CONTENT_DIR', '/srv/c' );",
            "foreach ( array( 'WP_CONTENT_DIR' => 1 ) as $a => $b ) { define( $a, $b ); }",
        ] {
            let text = format!("<?php\n{lines}\nrequire_once ABSPATH . 'wp-settings.php';\n");
            let found = scan(text.as_bytes(), &|_: &[u8]| None).unwrap().folders;
            assert_eq!(found.content, Stated::Unclear, "{lines}");
        }
        let text = "<?php\neval( $x );\nrequire_once ABSPATH . 'wp-settings.php';\n";
        let found = scan(text.as_bytes(), &|_: &[u8]| None).unwrap().folders;
        assert_eq!(found.content, Stated::Perhaps);
        let text = "<?php\nextract( $x );\nrequire_once ABSPATH . 'wp-settings.php';\n";
        let found = scan(text.as_bytes(), &|_: &[u8]| None).unwrap().folders;
        assert_eq!(found, Folders::default());
    }
}
