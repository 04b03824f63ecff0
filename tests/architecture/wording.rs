//! Rewording a text must not change behavior: no code compares with our own English
//! texts. Comparisons with constants, or in functions with their arguments, are not
//! detected.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    BinOp, Block, Expr, ExprBinary, ExprCall, ExprMatch, ExprMethodCall, Item, LitStr, Macro, Pat,
    Token,
};

/// Methods that compare a text with their argument.
const COMPARES: [&str; 17] = [
    "contains",
    "ends_with",
    "eq",
    "eq_ignore_ascii_case",
    "find",
    "matches",
    "ne",
    "replace",
    "rfind",
    "rsplit",
    "rsplit_once",
    "split",
    "split_once",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
    "trim_start_matches",
];

/// The string literals of a file.
#[derive(Default)]
struct Literals {
    /// Literals that texts are compared with.
    compared: BTreeSet<String>,
    /// All other literals.
    said: BTreeSet<String>,
    comparing: bool,
}

impl Literals {
    fn of(text: &str) -> Literals {
        let mut literals = Literals::default();
        literals.visit_file(&syn::parse_file(text).unwrap());
        literals
    }

    fn compared(&mut self, look: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.comparing, true);
        look(self);
        self.comparing = outer;
    }

    fn said(&mut self, look: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.comparing, false);
        look(self);
        self.comparing = outer;
    }
}

/// The arguments of `matches!`.
struct Matches {
    expr: Expr,
    pat: Pat,
    guard: Option<Expr>,
}

impl Parse for Matches {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let expr = input.parse()?;
        input.parse::<Token![,]>()?;
        let pat = Pat::parse_multi_with_leading_vert(input)?;
        let guard = match input.parse::<Option<Token![if]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        input.parse::<Option<Token![,]>>()?;
        Ok(Matches { expr, pat, guard })
    }
}

impl<'ast> Visit<'ast> for Literals {
    fn visit_item(&mut self, item: &'ast Item) {
        let is_test = match item {
            Item::Mod(module) => module.ident == "tests",
            _ => false,
        };
        if !is_test {
            visit::visit_item(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_lit_str(&mut self, literal: &'ast LitStr) {
        let set = match self.comparing {
            true => &mut self.compared,
            false => &mut self.said,
        };
        set.insert(literal.value());
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let compares = COMPARES.iter().any(|name| call.method == name);
        let searched = ["contains", "iter", "into_iter"];
        match call.receiver.as_ref() {
            Expr::Lit(_) => self.visit_expr(&call.receiver),
            // An element of a list, as in ["a", "b"].contains(&text).
            Expr::Array(list) if searched.iter().any(|name| call.method == name) => {
                self.compared(|it| it.visit_expr_array(list));
            }
            _ => self.said(|it| it.visit_expr(&call.receiver)),
        }
        for argument in &call.args {
            match compares {
                true => self.compared(|it| it.visit_expr(argument)),
                false => self.said(|it| it.visit_expr(argument)),
            }
        }
    }

    /// `Some("a")` compares, but not `Path::new("a").join("b")`.
    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        let wraps = match call.func.as_ref() {
            Expr::Path(path) => ["Some", "Ok", "Err"]
                .iter()
                .any(|it| path.path.is_ident(it)),
            _ => false,
        };
        match wraps {
            true => visit::visit_expr_call(self, call),
            false => self.said(|it| visit::visit_expr_call(it, call)),
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        self.said(|it| visit::visit_block(it, block));
    }

    fn visit_expr_match(&mut self, matching: &'ast ExprMatch) {
        self.said(|it| visit::visit_expr_match(it, matching));
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        match binary.op {
            BinOp::Eq(_) | BinOp::Ne(_) => self.compared(|it| {
                it.visit_expr(&binary.left);
                it.visit_expr(&binary.right);
            }),
            _ => visit::visit_expr_binary(self, binary),
        }
    }

    fn visit_pat(&mut self, pat: &'ast Pat) {
        self.compared(|it| visit::visit_pat(it, pat));
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.said(|it| visit::visit_expr_closure(it, closure));
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        if let Ok(matches) = mac.parse_body::<Matches>()
            && mac.path.is_ident("matches")
        {
            self.visit_expr(&matches.expr);
            self.visit_pat(&matches.pat);
            if let Some(guard) = &matches.guard {
                self.visit_expr(guard);
            }
        } else if let Ok(arguments) =
            mac.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated)
        {
            for argument in &arguments {
                self.visit_expr(argument);
            }
        }
    }
}

/// Every file below a folder, by its path in `src`.
fn files(src: &Path, dir: &Path, found: &mut Vec<(String, Literals)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(src, &path, found);
        } else if path.extension().is_some_and(|it| it == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let below = path.strip_prefix(src).unwrap();
            found.push((below.display().to_string(), Literals::of(&text)));
        }
    }
}

/// Comparisons that may contain one of our words, each with what it really matches.
const ALLOWED: &[(&str, &[&str], &str)] = &[
    ("base/problem.rs", &[" (os error "], "std's io::Error"),
    ("cli/manual.rs", &["plan"], "a subcommand's name"),
    (
        "cli/wizard/more.rs",
        &["queue", "salt", "workers"],
        "names of options",
    ),
    (
        "site/config/collected.rs",
        &["remove"],
        "methods of a class in PHP",
    ),
    (
        "worker/staleness.rs",
        &["ini"],
        "the ending of a file's name",
    ),
    (
        "doctor/checks/database.rs",
        &["database"],
        "what WordPress says",
    ),
    (
        "doctor/checks/job_server_options.rs",
        &["daemon"],
        "gearmand's option",
    ),
    (
        "doctor/checks/orphans.rs",
        &["worker"],
        "a process's command line",
    ),
    (
        "host/firewall/ufw.rs",
        &["allow", "any", "tcp"],
        "user.rules",
    ),
    ("host/process.rs", &["Max open files"], "/proc/PID/limits"),
    ("host/selinux.rs", &["off", "on"], "getsebool"),
    ("intent/effective.rs", &["salt"], "an option's name"),
    (
        "intent/file.rs",
        &["a boolean", "a sequence", "alert", "invalid type", "site"],
        "serde's message; tables' names",
    ),
    ("intent/record.rs", &["salt"], "an option's name"),
    (
        "intent/usage.rs",
        &[
            ": expected one of ",
            "; [possible values: ",
            "For more",
            "invalid digit found in string",
            "expected a whole number",
        ],
        "clap's and std's messages, put into one line",
    ),
    ("plan/journal.rs", &["all"], "the journal's format"),
    ("report/ask.rs", &["no", "yes"], "the user's answer"),
    (
        "site/config/layout.rs",
        &["begin", "end"],
        "marks of other programs",
    ),
    (
        "site/config/mod.rs",
        &["no", "off"],
        "values of PHP that look like false",
    ),
    (
        "site/config/ours.rs",
        &["global", "if", "true"],
        "words of PHP in our lines",
    ),
    (
        "site/config/place.rs",
        &["all, stop editing"],
        "WordPress's comment in wp-config.php",
    ),
    (
        "site/config/said.rs",
        &[
            "by",
            "directly in production",
            "edit this file",
            "edit this wp-config",
            "generated",
            "if you",
            "managed",
            "modify this file",
            "modify this wp-config",
            "this",
            "was",
            "without",
        ],
        "what comments of other programs say",
    ),
    (
        "site/extension.rs",
        &["none"],
        "the answer of our program in PHP",
    ),
    ("site/find.rs", &["home"], "a folder"),
    (
        "site/page.rs",
        &["final class"],
        "PHP's own words in a template",
    ),
    (
        "site/seal.rs",
        &["if ( ! class_exists"],
        "PHP's own words in a template",
    ),
    (
        "site/web_php.rs",
        &["php-fpm: master process (", "{LIBRARY} (deleted)"],
        "a process's title; /proc/PID/maps",
    ),
    (
        "supervisor/programs.rs",
        &["files", "worker"],
        "supervisor's files, and our command in them",
    ),
];

/// Folders that parse other programs' formats: there, a word is theirs, but a phrase
/// is not.
const FORMATS: &[(&str, &str)] = &[
    ("host/packages/", "what package managers print"),
    ("host/services/", "what systemctl prints"),
    ("site/web/", "directives of web servers and php-fpm"),
];

/// Names that are never reworded.
const NAMES: [&str; 9] = [
    "ansible",
    "builtin",
    "gearman",
    "gearmand",
    "localhost",
    "lsphp",
    "mysql",
    "mysqli",
    "php",
];

/// Words separated by blanks, at least one of them longer than a letter.
fn is_phrase(text: &str) -> bool {
    let letters = |word: &str| word.chars().filter(|c| c.is_alphabetic()).count();
    let words = text.split(' ').map(letters).filter(|letters| *letters > 0);
    let words: Vec<usize> = words.collect();
    words.len() > 1 && words.iter().any(|letters| *letters > 1)
}

/// Comparisons with what looks like our own English: a phrase, or a word with which one
/// of our texts begins.
fn suspects(files: &[(String, Literals)]) -> BTreeSet<(&str, &str)> {
    let said: BTreeSet<&str> = files
        .iter()
        .flat_map(|(_, literals)| &literals.said)
        .map(|text| text.split(' ').next().unwrap_or_default())
        .collect();
    let is_ours = |text: &str| {
        let is_word = !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase());
        is_word && said.contains(text) && !NAMES.contains(&text)
    };
    let mut found = BTreeSet::new();
    for (file, literals) in files {
        let reads_a_format = FORMATS.iter().any(|(folder, _)| file.starts_with(folder));
        let suspect = literals
            .compared
            .iter()
            .filter(|text| is_phrase(text) || (!reads_a_format && is_ours(text)));
        found.extend(suspect.map(|text| (file.as_str(), text.as_str())));
    }
    found
}

#[test]
fn no_code_depends_on_the_wording_of_our_texts() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &src, &mut all);
    let found = suspects(&all);
    let allowed: BTreeSet<(&str, &str)> = ALLOWED
        .iter()
        .flat_map(|(file, texts, _)| texts.iter().map(move |text| (*file, *text)))
        .collect();
    let new: Vec<_> = found.difference(&allowed).collect();
    let stale: Vec<_> = allowed.difference(&found).collect();
    assert!(
        new.is_empty(),
        "compare a type instead, or list with the reason: {new:#?}"
    );
    assert!(stale.is_empty(), "no longer needed: {stale:#?}");
}

/// The test detects what it is meant to detect.
#[test]
fn a_comparison_with_a_text_of_ours_is_seen() {
    const TEXTS: &str = r#"
        const NAMES: [&str; 2] = ["create", "wait"];
        fn name(path: &str) -> String { format!("file {path}") }
        fn limit() -> String { format!("it may open {} files only", 3) }
    "#;
    let seen = |code: &str| -> Vec<String> {
        let text = format!("{TEXTS} fn f() {{ {code} }}");
        let files = [("f.rs".to_owned(), Literals::of(&text))];
        let found = suspects(&files);
        found.into_iter().map(|(_, text)| text.to_owned()).collect()
    };
    for (code, text) in [
        (r#"verb == "create";"#, "create"),
        (r#"Some("create") != verb;"#, "create"),
        (r#"if !["wait", "RUNNING"].contains(&verb) {}"#, "wait"),
        (r#"matches!(verb.as_str(), "wait" | "RUNNING");"#, "wait"),
        (r#"match verb { "create" => 1, _ => 2 };"#, "create"),
        (
            r#"if let Some(("file", path)) = name.split_once(' ') {}"#,
            "file",
        ),
        (r#"why.contains("files only");"#, "files only"),
        (r#"what.starts_with(&format!("a {}", "file"));"#, "file"),
        (r#"what.strip_prefix("a file");"#, "a file"),
        (
            r#"println!("{}", what.ends_with("files only"));"#,
            "files only",
        ),
        (r#"all.iter().any(|one| one == "create");"#, "create"),
    ] {
        assert_eq!(seen(code), [text], "{code}");
    }
    for code in [
        r#"state == "RUNNING";"#,
        r#"path == Path::new("x").join("file");"#,
        r#"x.contains(&match y { true => "create a file".len(), false => 0 });"#,
        r#"let text = "create a file";"#,
    ] {
        assert_eq!(seen(code), [""; 0], "{code}");
    }
}
