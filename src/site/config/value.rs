//! Evaluates expressions, as far as possible without running them.

use php_ast::{ArgKind, ArrayElementKind, BinaryOp, Expr, ExprKind, Name, NameKind, UnaryPrefixOp};
use std::collections::HashMap;
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
    /// Known only at run time; `from_host` if it depends on the request's host name.
    Computed {
        from_host: bool,
    },
}

/// An element of a list. The plugin ignores its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    pub value: Value,
    pub at: Range<usize>,
    pub keyed: bool,
}

impl Value {
    /// Whether PHP treats the value as true; `None` if it is unknown.
    pub fn truthy(&self) -> Option<bool> {
        Some(match self {
            Value::Null => false,
            Value::Bool(value) => *value,
            Value::Int(value) => *value != 0,
            Value::Text(text) => !text.is_empty() && text != "0",
            Value::List(list) => !list.is_empty(),
            Value::Odd | Value::Bareword(_) | Value::Computed { .. } => return None,
        })
    }

    pub fn text(&self) -> Option<String> {
        match self {
            Value::Text(text) => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }
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

/// The values of the constants that are certainly defined so far.
pub type Known = HashMap<String, Value>;

pub struct Reader<'r> {
    pub view: &'r str,
    pub source: &'r [u8],
    pub known: &'r Known,
    /// Variables that hold something taken from the request's host name.
    pub host_variables: &'r std::collections::HashSet<String>,
}

impl Reader<'_> {
    pub fn value(&self, expr: &Expr<'_, '_>) -> Value {
        match &expr.kind {
            ExprKind::Null => Value::Null,
            ExprKind::Bool(value) => Value::Bool(*value),
            ExprKind::Int(value) => Value::Int(*value),
            ExprKind::Float(_) => Value::Odd,
            ExprKind::Parenthesized(inner) | ExprKind::ErrorSuppress(inner) => self.value(inner),
            ExprKind::String(text) => self.literal(expr, text.as_bytes()),
            ExprKind::Nowdoc { value, .. } => self.literal(expr, value.as_bytes()),
            ExprKind::UnaryPrefix(unary) => match (unary.op, self.value(unary.operand)) {
                (UnaryPrefixOp::Negate, Value::Int(n)) => Value::Int(n.wrapping_neg()),
                (UnaryPrefixOp::BooleanNot, value) => match value.truthy() {
                    Some(truth) => Value::Bool(!truth),
                    None => self.computed(expr),
                },
                _ => self.computed(expr),
            },
            ExprKind::Binary(binary) if binary.op == BinaryOp::Concat => self.concat(expr),
            ExprKind::Array(elements) => {
                let mut list = Vec::new();
                for element in elements.iter() {
                    let ArrayElementKind::Value(value) = &element.kind else {
                        return self.computed(expr);
                    };
                    list.push(Element {
                        value: self.value(value),
                        at: span(value),
                        keyed: element.key.is_some(),
                    });
                }
                Value::List(list)
            }
            ExprKind::Name(name) => match global_name(name, self.view) {
                Some(name) => match self.known.get(name) {
                    Some(value) => value.clone(),
                    // PHP's own constants are not in `known`.
                    None if name.starts_with("PHP_") => self.computed(expr),
                    None => Value::Bareword(name.to_owned()),
                },
                None => self.computed(expr),
            },
            _ => self.computed(expr),
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
    fn concat(&self, expr: &Expr<'_, '_>) -> Value {
        let mut parts = Vec::new();
        let mut left = expr;
        loop {
            match &left.kind {
                ExprKind::Binary(binary) if binary.op == BinaryOp::Concat => {
                    parts.push(binary.right);
                    left = binary.left;
                }
                _ => break,
            }
        }
        let mut text = String::new();
        for part in std::iter::once(left).chain(parts.into_iter().rev()) {
            match self.value(part).text() {
                Some(more) => text.push_str(&more),
                None => return self.computed(expr),
            }
        }
        Value::Text(text)
    }

    fn computed(&self, expr: &Expr<'_, '_>) -> Value {
        Value::Computed {
            from_host: self.depends_on_host(expr),
        }
    }

    pub fn depends_on_host(&self, expr: &Expr<'_, '_>) -> bool {
        let mut found = false;
        walk(expr, &mut |inner| match &inner.kind {
            ExprKind::Variable(name) => found |= self.host_variables.contains(name.as_str()),
            ExprKind::String(text) => {
                found |= matches!(text.as_bytes(), b"HTTP_HOST" | b"SERVER_NAME")
            }
            _ => {}
        });
        found
    }

    /// The path in an `include`: absolute, or relative to the folder of wp-config.php.
    pub fn path(&self, expr: &Expr<'_, '_>) -> Option<String> {
        let expr = bare(expr);
        let (head, tail) = match &expr.kind {
            ExprKind::Binary(binary) if binary.op == BinaryOp::Concat => {
                (self.folder(binary.left), binary.right)
            }
            _ => (Some(""), expr),
        };
        let Value::Text(tail) = self.value(tail) else {
            return None;
        };
        match head? {
            "" if tail.is_empty() => None,
            "" => Some(tail),
            up => Some(format!("{up}{}", tail.trim_start_matches('/'))),
        }
    }

    /// Recognizes `__DIR__`, `dirname( __FILE__ )` and the folder above.
    fn folder(&self, expr: &Expr<'_, '_>) -> Option<&'static str> {
        use php_ast::MagicConstKind::{Dir, File};
        let expr = bare(expr);
        match &expr.kind {
            ExprKind::MagicConst(Dir) => Some("./"),
            ExprKind::Name(name) if global_name(name, self.view) == Some("ABSPATH") => Some("./"),
            ExprKind::FunctionCall(call) => {
                let name = function_name(call, self.view)?;
                let [only] = &call.args[..] else { return None };
                let ArgKind::Value(inner) = &only.kind else {
                    return None;
                };
                match &bare(inner).kind {
                    ExprKind::MagicConst(File) if name == "dirname" => Some("./"),
                    ExprKind::MagicConst(Dir) if name == "dirname" => Some("../"),
                    ExprKind::FunctionCall(_) if name == "dirname" => {
                        (self.folder(inner)? == "./").then_some("../")
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// The name of a called function, in lowercase.
pub fn function_name(call: &php_ast::FunctionCallExpr<'_, '_>, view: &str) -> Option<String> {
    match &bare(call.name).kind {
        ExprKind::Name(name) => global_name(name, view).map(str::to_ascii_lowercase),
        _ => None,
    }
}

/// Calls `see` for `expr` and every expression in it.
pub fn walk(expr: &Expr<'_, '_>, see: &mut dyn FnMut(&Expr<'_, '_>)) {
    struct Each<'f>(&'f mut dyn FnMut(&Expr<'_, '_>));
    impl<'a, 's> php_ast::visitor::Visitor<'a, 's> for Each<'_> {
        type Break = std::convert::Infallible;
        fn visit_expr(&mut self, expr: &Expr<'a, 's>) -> std::ops::ControlFlow<Self::Break> {
            (self.0)(expr);
            php_ast::visitor::walk_expr(self, expr)
        }
    }
    let mut each = Each(see);
    let _ = php_ast::visitor::Visitor::visit_expr(&mut each, expr);
}
