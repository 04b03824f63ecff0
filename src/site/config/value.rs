//! What an expression evaluates to, as far as that is known without running it.

use crate::site::config::truth::Truth;
use php_ast::{BinaryOp, Expr, ExprKind, Name, NameKind};
use std::ops::Range;

#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Element>),
    /// A constant that nothing in the file defines.
    Bareword(String),
    /// A non-ASCII string, or a float.
    Odd,
    /// Something of the request, which a worker does not have.
    Absent,
    /// From the environment, with the value that the file has for an environment
    /// without it.
    Environment(Option<Box<Value>>),
    /// Known only at run time.
    Computed {
        /// Whether a worker lacks what it is computed from: the request's host name.
        from_host: Truth,
    },
}

/// An element of a list. The plugin ignores its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    pub value: Value,
    pub at: Range<usize>,
    pub key: Option<Box<Value>>,
}

impl Value {
    /// Whether PHP treats the value as true; `None` if it is unknown.
    pub fn truthy(&self) -> Option<bool> {
        Some(match self {
            Value::Null | Value::Absent => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Text(text) => !text.is_empty() && text != "0",
            Value::List(list) => !list.is_empty(),
            Value::Odd | Value::Bareword(_) | Value::Environment(_) | Value::Computed { .. } => {
                return None;
            }
        })
    }

    pub fn text(&self) -> Option<String> {
        match self {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The value in an environment that does not provide another one.
    pub fn by_default(&self) -> &Value {
        match self {
            Value::Environment(Some(value)) => value,
            value => value,
        }
    }

    /// Whether a worker lacks what the value is made from.
    pub fn lacks_host(&self) -> Truth {
        match self {
            Value::Absent => Truth::Yes,
            Value::Computed { from_host } => *from_host,
            _ => Truth::No,
        }
    }

    /// The bytes that a copy takes, roughly.
    pub fn size(&self) -> usize {
        match self {
            Value::Text(text) | Value::Bareword(text) => text.len(),
            Value::List(list) => list
                .iter()
                .map(|it| 64 + it.value.size() + it.key.as_ref().map_or(0, |key| 64 + key.size()))
                .sum(),
            Value::Environment(Some(value)) => value.size(),
            _ => 0,
        }
    }

    pub fn computed(from_host: Truth) -> Value {
        Value::Computed { from_host }
    }

    /// One of two values, it is unknown which.
    pub fn or(self, other: Value) -> Value {
        if self == other {
            return self;
        }
        let from_host = match (self.lacks_host(), other.lacks_host()) {
            (one, two) if one == two => one,
            _ => Truth::Unknown,
        };
        Value::computed(from_host)
    }
}

/// The list of servers; `None` if it has an element that is not a string. An element
/// from the environment counts with its default.
pub fn server_list(value: &Value) -> Option<Vec<String>> {
    let Value::List(list) = value.by_default() else {
        return None;
    };
    list.iter()
        .map(|element| match element.value.by_default() {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
}

/// The servers of a list that may be written wrongly, as `array( 'HOST' => PORT )`.
pub fn likely_servers(value: &Value) -> Option<Vec<String>> {
    if let Some(servers) = server_list(value) {
        return Some(servers);
    }
    let Value::List(list) = value else {
        return None;
    };
    list.iter()
        .map(|element| match (element.key.as_deref(), &element.value) {
            (Some(Value::Text(host)), port) => Some(format!("{host}:{}", port.text()?)),
            _ => None,
        })
        .collect()
}

pub fn span(expr: &Expr<'_, '_>) -> Range<usize> {
    expr.span.start as usize..expr.span.end as usize
}

/// The name that PHP looks up in the global namespace.
pub fn global_name<'s>(name: &Name<'_, 's>, view: &'s str) -> Option<&'s str> {
    let text = name.src_repr(view);
    match name.kind() {
        NameKind::Unqualified => Some(text),
        NameKind::FullyQualified => {
            let bare = text.trim_start_matches('\\');
            (!bare.contains('\\')).then_some(bare)
        }
        _ => None,
    }
}

/// `expr` without parentheses and `@`.
pub fn bare<'e, 'a, 's>(mut expr: &'e Expr<'a, 's>) -> &'e Expr<'a, 's> {
    while let ExprKind::Parenthesized(inner) | ExprKind::ErrorSuppress(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

/// The name of a called function, in lowercase.
pub fn function_name(call: &php_ast::FunctionCallExpr<'_, '_>, view: &str) -> Option<String> {
    match &bare(call.name).kind {
        ExprKind::Name(name) => global_name(name, view).map(str::to_ascii_lowercase),
        _ => None,
    }
}

/// The key in `$_SERVER['KEY']`.
pub fn server_key<'e>(expr: &'e Expr<'_, '_>) -> Option<&'e [u8]> {
    key_of(expr, "_SERVER")
}

/// The key in `$array['KEY']`.
pub fn key_of<'e>(expr: &'e Expr<'_, '_>, array: &str) -> Option<&'e [u8]> {
    let ExprKind::ArrayAccess(access) = &bare(expr).kind else {
        return None;
    };
    if !matches!(&access.array.kind, ExprKind::Variable(name) if name.as_str() == array) {
        return None;
    }
    match &access.index?.kind {
        ExprKind::String(text) => Some(text.as_bytes()),
        _ => None,
    }
}

/// `$_SERVER['HTTP_HOST']`
pub fn is_http_host(expr: &Expr<'_, '_>) -> bool {
    server_key(expr) == Some(b"HTTP_HOST")
}

/// The operands of a chain of `.`, from left to right.
pub fn chain<'e, 'a, 's>(expr: &'e Expr<'a, 's>) -> Vec<&'e Expr<'a, 's>> {
    let mut parts = Vec::new();
    let mut left = expr;
    while let ExprKind::Binary(binary) = &left.kind
        && binary.op == BinaryOp::Concat
    {
        parts.push(binary.right);
        left = binary.left;
    }
    parts.push(left);
    parts.reverse();
    parts
}

/// Calls `see` for `expr` and every expression in it.
pub fn walk(expr: &Expr<'_, '_>, see: &mut dyn FnMut(&Expr<'_, '_>)) {
    walk_while(expr, &mut |inner| {
        see(inner);
        true
    });
}

/// Calls `see` for `expr` and every expression in it, except in those for which `see`
/// returns false.
pub fn walk_while(expr: &Expr<'_, '_>, see: &mut dyn FnMut(&Expr<'_, '_>) -> bool) {
    struct Each<'f>(&'f mut dyn FnMut(&Expr<'_, '_>) -> bool);
    impl<'a, 's> php_ast::visitor::Visitor<'a, 's> for Each<'_> {
        type Break = std::convert::Infallible;
        fn visit_expr(&mut self, expr: &Expr<'a, 's>) -> std::ops::ControlFlow<Self::Break> {
            match (self.0)(expr) {
                true => php_ast::visitor::walk_expr(self, expr),
                false => std::ops::ControlFlow::Continue(()),
            }
        }
    }
    let mut each = Each(see);
    let _ = php_ast::visitor::Visitor::visit_expr(&mut each, expr);
}
