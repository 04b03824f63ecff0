//! The paths of included files, as far as they are known without running the code.

use php_ast::{ArgKind, Expr, ExprKind};

use crate::site::config::bounds::MAX_PATH;
use crate::site::config::reader::Reader;
use crate::site::config::value::{Value, bare, chain, function_name, global_name};

impl Reader<'_> {
    /// The path in an `include`: absolute, or relative to the folder of wp-config.php.
    pub fn path(&self, expr: &Expr<'_, '_>) -> Option<String> {
        self.any_path(expr).filter(|path| path.len() <= MAX_PATH)
    }

    fn any_path(&self, expr: &Expr<'_, '_>) -> Option<String> {
        let parts = chain(bare(expr));
        let (first, rest) = parts.split_first()?;
        if let (ExprKind::Variable(name), []) = (&first.kind, rest)
            && let Some(path) = self.state.paths.get(name.as_str())
        {
            return Some(path.clone());
        }
        let mut tail = String::new();
        for part in rest {
            match (&bare(part).kind, self.value(part)) {
                (ExprKind::Name(name), Value::Environment(_)) => {
                    tail.push_str(&format!("{{{}}}", global_name(name, self.view)?));
                }
                (_, value) => tail.push_str(&value.text()?),
            }
        }
        let (head, tail) = match self.folder(first) {
            Some(_) if tail.is_empty() => return None,
            Some(folder) => (folder, tail.trim_start_matches('/').to_owned()),
            None => {
                let path = format!("{}{tail}", self.value(first).text()?);
                match path.starts_with('/') {
                    true => (String::new(), path),
                    // PHP looks in the current folder first, which is WordPress's.
                    false if !self.location.root.is_empty() => return None,
                    false => (
                        self.location.own.to_owned(),
                        path.trim_start_matches("./").to_owned(),
                    ),
                }
            }
        };
        (!tail.is_empty()).then(|| format!("{head}{tail}"))
    }

    /// Recognizes `ABSPATH`, `__DIR__`, `dirname( __FILE__ )` and the folders above, and
    /// variables that hold one of them.
    fn folder(&self, expr: &Expr<'_, '_>) -> Option<String> {
        use php_ast::MagicConstKind::{Dir, File};
        let expr = bare(expr);
        match &expr.kind {
            ExprKind::MagicConst(Dir) => Some(self.location.own.to_owned()),
            ExprKind::Name(name) if global_name(name, self.view) == Some("ABSPATH") => {
                Some(self.location.root.to_owned())
            }
            ExprKind::FunctionCall(call) => {
                let name = function_name(call, self.view)?;
                if name != "dirname" && name != "realpath" {
                    return None;
                }
                let (inner, levels) = match &call.args[..] {
                    [inner] => (inner, 1),
                    [inner, levels] if name == "dirname" => match self.value(levels.value()?) {
                        Value::Int(levels @ 1..=8) => (inner, levels),
                        _ => return None,
                    },
                    _ => return None,
                };
                let ArgKind::Value(inner) = &inner.kind else {
                    return None;
                };
                match &bare(inner).kind {
                    ExprKind::MagicConst(File) if name == "dirname" => {
                        Some(above(self.location.own, levels - 1))
                    }
                    _ if name == "dirname" => Some(above(&self.folder(inner)?, levels)),
                    _ => self.folder(inner),
                }
            }
            _ => None,
        }
    }
}

/// The folder `levels` above.
fn above(folder: &str, levels: i64) -> String {
    let mut folder = folder.to_owned();
    for _ in 0..levels {
        let inner = folder.trim_end_matches('/');
        folder = match inner.rsplit_once('/') {
            _ if inner.is_empty() && folder.is_empty() => "../".to_owned(),
            _ if inner == ".." || inner.ends_with("/..") => format!("{inner}/../"),
            Some((up, _)) => format!("{up}/"),
            None if inner.is_empty() => "/".to_owned(),
            None => String::new(),
        };
    }
    folder
}
