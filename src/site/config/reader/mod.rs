//! Evaluates expressions as a worker would, as far as possible without running them.

mod path;

use crate::site::config::truth::Truth;
use crate::site::config::value::{
    Element, Value, chain, function_name, global_name, is_http_host, key_of, server_key, span,
    walk, walk_while,
};
use php_ast::{ArrayElementKind, BinaryOp, Expr, ExprKind, Name, UnaryPrefixOp};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};

/// The values of the constants that are certainly defined so far.
pub type Known = HashMap<String, Value>;

/// Deeper expressions count as computed.
const MAX_DEPTH: usize = 24;
/// Nested conditions could be evaluated again and again. A large file takes a hundredth of
/// this.
const MAX_STEPS: usize = 1_000_000;
/// A copy of a value takes a step for so many bytes: 16 MB in all.
const BYTES_PER_STEP: usize = 16;

/// What has been assigned and defined so far.
#[derive(Debug, Default)]
pub struct State {
    pub known: Known,
    /// The variables whose values are the same for everybody.
    pub plain: HashMap<String, Value>,
    /// Those that are known for a worker only.
    pub of_worker: Known,
    pub variables: HashMap<String, Value>,
    /// Variables that were made from the request's host name, known or not.
    pub host_variables: HashSet<String>,
    /// Variables that hold the path of a file.
    pub paths: HashMap<String, String>,
    /// The names of the class whose `define` collects constants.
    pub collectors: HashSet<String>,
    /// What it has collected: values for everybody, and for a worker.
    pub collected: HashMap<String, (Value, Value)>,
    /// `$_SERVER['HTTP_HOST']`, once the file sets it.
    pub host: Option<Value>,
    /// Constants that are defined, or not, depending on the request's host name.
    pub host_constants: HashSet<String>,
    /// Functions of the file that read the request's host name.
    pub host_functions: HashSet<String>,
    /// How many steps evaluating took.
    pub steps: Cell<usize>,
}

/// Where a file is.
#[derive(Debug, Clone, Copy)]
pub struct Location<'f> {
    /// Its folder, and the WordPress root, each relative to the folder of
    /// wp-config.php or absolute; empty, or with a slash at the end.
    pub own: &'f str,
    pub root: &'f str,
}

pub struct Reader<'r> {
    pub view: &'r str,
    pub source: &'r [u8],
    pub state: &'r State,
    pub location: Location<'r>,
    /// Whether to evaluate as a worker would, which has no request. If not, a value is
    /// known only if it is the same for everybody and stands in this expression.
    pub as_worker: bool,
}

impl Reader<'_> {
    pub fn value(&self, expr: &Expr<'_, '_>) -> Value {
        self.value_within(expr, MAX_DEPTH)
    }

    fn value_within(&self, expr: &Expr<'_, '_>, depth: usize) -> Value {
        let Some(depth) = depth.checked_sub(1).filter(|_| self.goes_on(1)) else {
            return Value::computed(Truth::Unknown);
        };
        let value = Some(self.evaluate(expr, depth));
        let value = value.filter(|it| self.goes_on(it.size() / BYTES_PER_STEP));
        value.unwrap_or(Value::computed(Truth::Unknown))
    }

    /// Takes some more steps, if any are left.
    fn goes_on(&self, steps: usize) -> bool {
        let taken = self.state.steps.get().saturating_add(steps);
        self.state.steps.set(taken);
        taken <= MAX_STEPS
    }

    fn evaluate(&self, expr: &Expr<'_, '_>, depth: usize) -> Value {
        let value = |expr| self.value_within(expr, depth);
        match &expr.kind {
            ExprKind::Null => Value::Null,
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Int(value) => Value::Int(*value),
            ExprKind::Float(_) => Value::Odd,
            ExprKind::Parenthesized(inner) | ExprKind::ErrorSuppress(inner) => value(inner),
            ExprKind::String(text) => self.literal(expr, text.as_bytes()),
            ExprKind::Nowdoc { value, .. } => self.literal(expr, value.as_bytes()),
            ExprKind::UnaryPrefix(unary) => match (unary.op, value(unary.operand)) {
                (UnaryPrefixOp::Negate, Value::Int(n)) => Value::Int(n.wrapping_neg()),
                (UnaryPrefixOp::BooleanNot, value) => match value.truthy() {
                    Some(truth) => Value::Bool(!truth),
                    None => self.computed(expr),
                },
                _ => self.computed(expr),
            },
            ExprKind::Binary(binary) if binary.op == BinaryOp::Concat => self.concat(expr, depth),
            ExprKind::Array(elements) => {
                let mut list = Vec::new();
                for element in elements.iter() {
                    let ArrayElementKind::Value(item) = &element.kind else {
                        return self.computed(expr);
                    };
                    list.push(Element {
                        value: value(item),
                        at: span(item),
                        key: element.key.as_ref().map(|key| Box::new(value(key))),
                    });
                }
                Value::List(list)
            }
            ExprKind::Name(name) => match global_name(name, self.view) {
                Some(name) => match self.constant(name) {
                    Some(value) => value.clone(),
                    // PHP's own constants are not known.
                    None if name.starts_with("PHP_") => self.computed(expr),
                    None if self.state.host_constants.contains(name) => {
                        Value::computed(Truth::Unknown)
                    }
                    None => Value::Bareword(name.to_owned()),
                },
                None => self.computed(expr),
            },
            ExprKind::Variable(name) if self.as_worker => {
                match self.state.variables.get(name.as_str()) {
                    Some(value) => value.clone(),
                    None => self.computed(expr),
                }
            }
            ExprKind::Variable(name) => match self.state.plain.get(name.as_str()) {
                Some(value) => value.clone(),
                None => self.computed(expr),
            },
            ExprKind::ArrayAccess(_) if is_environment(expr, self.view) => Value::Environment(None),
            ExprKind::ArrayAccess(_) if !self.as_worker => self.computed(expr),
            ExprKind::ArrayAccess(_) if is_http_host(expr) => {
                self.state.host.clone().unwrap_or(Value::Absent)
            }
            ExprKind::ArrayAccess(_) if server_key(expr).is_some_and(is_of_request) => {
                Value::Absent
            }
            ExprKind::ArrayAccess(access) => match access.index {
                Some(index) => self.element(value(access.array), value(index), expr),
                None => self.computed(expr),
            },
            ExprKind::FunctionCall(_) if is_environment(expr, self.view) => {
                Value::Environment(None)
            }
            ExprKind::StaticMethodCall(call) => match self.collected(call) {
                Some(value) => value,
                None => self.computed(expr),
            },
            ExprKind::Ternary(ternary) => {
                let truth = self.truth(ternary.condition);
                let then = || match ternary.then_expr {
                    Some(then) => value(then),
                    None => value(ternary.condition),
                };
                match truth {
                    Truth::Unknown if self.asks_environment(ternary.condition) => {
                        Value::Environment(Some(Box::new(value(ternary.else_expr))))
                    }
                    _ if !self.as_worker => self.computed(expr),
                    Truth::Yes => then(),
                    Truth::No => value(ternary.else_expr),
                    Truth::Unknown => then().or(value(ternary.else_expr)),
                }
            }
            ExprKind::NullCoalesce(either) => match value(either.left) {
                Value::Environment(_) => Value::Environment(Some(Box::new(value(either.right)))),
                _ if !self.as_worker => self.computed(expr),
                Value::Null | Value::Absent => value(either.right),
                left @ (Value::Computed { .. } | Value::Bareword(_)) => {
                    left.or(value(either.right))
                }
                left => left,
            },
            _ => self.computed(expr),
        }
    }

    fn constant(&self, name: &str) -> Option<&Value> {
        let of_worker = self.state.of_worker.get(name).filter(|_| self.as_worker);
        of_worker.or_else(|| self.state.known.get(name))
    }

    /// An element of a literal array, if array and key are known.
    fn element(&self, array: Value, key: Value, expr: &Expr<'_, '_>) -> Value {
        let key = match key {
            // PHP takes null for the empty string.
            Value::Absent | Value::Null => Some(String::new()),
            key => key.text(),
        };
        let (Value::List(list), Some(key)) = (array, key) else {
            return self.computed(expr);
        };
        let keys: Option<Vec<String>> = list.iter().map(|it| it.key.as_ref()?.text()).collect();
        match keys {
            Some(keys) => match keys.iter().rposition(|it| *it == key) {
                Some(at) => list[at].value.clone(),
                None => Value::Null,
            },
            None => self.computed(expr),
        }
    }

    fn literal(&self, expr: &Expr<'_, '_>, bytes: &[u8]) -> Value {
        match std::str::from_utf8(bytes) {
            Ok(text) if self.source[span(expr)].is_ascii() && text.is_ascii() => {
                Value::Text(text.to_owned())
            }
            _ => Value::Odd,
        }
    }

    /// Evaluates a chain of `.` in a loop: recursion would go too deep on its left.
    fn concat(&self, expr: &Expr<'_, '_>, depth: usize) -> Value {
        let mut text = String::new();
        let mut by_environment = false;
        for part in chain(expr) {
            let value = self.value_within(part, depth);
            by_environment |= matches!(value, Value::Environment(_));
            match value.by_default().text() {
                Some(more) => text.push_str(&more),
                None => return self.computed(expr),
            }
        }
        match by_environment {
            true => Value::Environment(Some(Box::new(Value::Text(text)))),
            false => Value::Text(text),
        }
    }

    fn computed(&self, expr: &Expr<'_, '_>) -> Value {
        Value::computed(self.depends_on_host(expr))
    }

    /// Whether the request's host name is looked at, whatever that means for a worker.
    pub fn mentions_host(&self, expr: &Expr<'_, '_>) -> bool {
        let mut found = false;
        walk(expr, &mut |inner| {
            found |= match &inner.kind {
                ExprKind::Variable(name) => self.state.host_variables.contains(name.as_str()),
                ExprKind::String(text) => {
                    is_host(text.as_bytes())
                        || std::str::from_utf8(text.as_bytes())
                            .is_ok_and(|name| self.state.host_constants.contains(name))
                }
                ExprKind::Name(name) => self.is_host_name(name),
                _ => false,
            };
        });
        found
    }

    /// A constant or a function that depends on the request's host name.
    fn is_host_name(&self, name: &Name<'_, '_>) -> bool {
        global_name(name, self.view).is_some_and(|it| {
            self.state.host_constants.contains(it)
                || self.state.host_functions.contains(&it.to_ascii_lowercase())
        })
    }

    /// Whether the value is made from the request's host name, which a worker lacks.
    pub fn depends_on_host(&self, expr: &Expr<'_, '_>) -> Truth {
        let mut found = Truth::No;
        self.find_host(expr, &mut found);
        found
    }

    fn find_host(&self, expr: &Expr<'_, '_>, found: &mut Truth) {
        let mut see = |truth: Truth| match truth {
            Truth::No => {}
            Truth::Yes => *found = Truth::Yes,
            Truth::Unknown if *found == Truth::No => *found = Truth::Unknown,
            Truth::Unknown => {}
        };
        walk_while(expr, &mut |inner| {
            match &inner.kind {
                // With another value for a worker, it depends on that.
                ExprKind::NullCoalesce(_) | ExprKind::Ternary(_) if self.as_worker => {
                    match self.value(inner) {
                        Value::Computed { from_host } => {
                            see(from_host);
                            return from_host == Truth::No;
                        }
                        value => see(value.lacks_host()),
                    }
                    return false;
                }
                ExprKind::Variable(name) => {
                    if let Some(value) = self.state.variables.get(name.as_str()) {
                        see(value.lacks_host());
                    }
                }
                ExprKind::String(text) => match text.as_bytes() {
                    b"HTTP_HOST" if self.state.host.is_some() => {}
                    name if is_host(name) => see(Truth::Yes),
                    other => {
                        if std::str::from_utf8(other)
                            .is_ok_and(|name| self.state.host_constants.contains(name))
                        {
                            see(Truth::Unknown);
                        }
                    }
                },
                ExprKind::Name(name) if self.is_host_name(name) => see(Truth::Unknown),
                // Code of another file, which may look at the request.
                ExprKind::MethodCall(_) | ExprKind::StaticMethodCall(_) if self.as_worker => {
                    see(Truth::Unknown)
                }
                ExprKind::FunctionCall(call)
                    if self.as_worker
                        && function_name(call, self.view)
                            .is_some_and(|it| sounds_like_host(&it)) =>
                {
                    see(Truth::Unknown)
                }
                _ => {}
            }
            true
        });
    }

    /// Whether nothing but the environment decides on a condition.
    pub fn asks_environment(&self, condition: &Expr<'_, '_>) -> bool {
        let mut asks = false;
        walk(condition, &mut |inner| {
            asks |= is_environment(inner, self.view);
        });
        asks && self.depends_on_host(condition) == Truth::No
    }
}

/// Whether a function that is not PHP's own seems to return a host name.
fn sounds_like_host(function: &str) -> bool {
    const OF_PHP: [&str; 5] = [
        "gethostname",
        "gethostbyname",
        "gethostbyaddr",
        "parse_url",
        "urldecode",
    ];
    let word = ["host", "domain", "url"];
    !OF_PHP.contains(&function) && word.iter().any(|it| function.contains(it))
}

/// The keys of `$_SERVER` with the request's host name.
pub fn is_host(key: &[u8]) -> bool {
    matches!(
        key,
        b"HTTP_HOST" | b"SERVER_NAME" | b"HTTP_X_FORWARDED_HOST"
    )
}

/// What only a web server puts into `$_SERVER`.
pub fn is_of_request(key: &[u8]) -> bool {
    key.starts_with(b"HTTP_") || key == b"SERVER_NAME"
}

/// `getenv( 'X' )`, `$_ENV['X']` or `$_SERVER['X']` for what no web server sets.
fn is_environment(expr: &Expr<'_, '_>, view: &str) -> bool {
    const OF_SERVER: [&[u8]; 14] = [
        b"argc",
        b"argv",
        b"PHP_SELF",
        b"SCRIPT_NAME",
        b"SCRIPT_FILENAME",
        b"PATH_INFO",
        b"HTTPS",
        b"REMOTE_ADDR",
        b"REQUEST_URI",
        b"REQUEST_METHOD",
        b"SERVER_PORT",
        b"SERVER_ADDR",
        b"DOCUMENT_ROOT",
        b"QUERY_STRING",
    ];
    match &expr.kind {
        ExprKind::FunctionCall(call) => {
            let of_request = call.args.first().and_then(|arg| arg.value()).is_some_and(
                |arg| matches!(&arg.kind, ExprKind::String(name) if is_of_request(name.as_bytes())),
            );
            matches!(function_name(call, view).as_deref(), Some("getenv" | "env"))
                && !call.args.is_empty()
                && !of_request
        }
        ExprKind::ArrayAccess(_) => {
            key_of(expr, "_ENV").is_some()
                || server_key(expr)
                    .is_some_and(|key| !is_of_request(key) && !OF_SERVER.contains(&key))
        }
        _ => false,
    }
}
