//! Evaluates conditions for a worker, which runs on PHP's command line without a
//! host name, started by the plugin's runner.

use crate::site::config::value::{bare, function_name, global_name};
use php_ast::{BinaryOp, Expr, ExprKind, UnaryPrefixOp};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    Yes,
    No,
    Unknown,
}

impl Truth {
    pub fn and(self, other: Truth) -> Truth {
        match (self, other) {
            (Truth::No, _) | (_, Truth::No) => Truth::No,
            (Truth::Yes, Truth::Yes) => Truth::Yes,
            _ => Truth::Unknown,
        }
    }

    pub fn not(self) -> Truth {
        match self {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Unknown => Truth::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Truth {
        if value { Truth::Yes } else { Truth::No }
    }
}

pub fn truth(expr: &Expr<'_, '_>, view: &str) -> Truth {
    truth_within(expr, view, 16)
}

/// The recursion is limited in depth, as chains can be long.
fn truth_within(expr: &Expr<'_, '_>, view: &str, depth: usize) -> Truth {
    let Some(depth) = depth.checked_sub(1) else {
        return Truth::Unknown;
    };
    let expr = bare(expr);
    match &expr.kind {
        ExprKind::Bool(value) => (*value).into(),
        ExprKind::Name(name) => match global_name(name, view) {
            Some("DOING_ASYNC") => Truth::Yes,
            _ => Truth::Unknown,
        },
        ExprKind::UnaryPrefix(unary) if unary.op == UnaryPrefixOp::BooleanNot => {
            truth_within(unary.operand, view, depth).not()
        }
        ExprKind::Isset(what) if what.iter().any(is_http_host) => Truth::No,
        ExprKind::Empty(what) if is_http_host(what) => Truth::Yes,
        ExprKind::Binary(binary) => {
            let side = |expr| truth_within(expr, view, depth);
            let sides = || (side(binary.left), side(binary.right));
            match binary.op {
                BinaryOp::BooleanAnd | BinaryOp::LogicalAnd => {
                    let (left, right) = sides();
                    left.and(right)
                }
                BinaryOp::BooleanOr | BinaryOp::LogicalOr => {
                    let (left, right) = sides();
                    left.not().and(right.not()).not()
                }
                BinaryOp::Equal | BinaryOp::Identical => {
                    is_command_line(binary.left, binary.right, view)
                }
                BinaryOp::NotEqual | BinaryOp::NotIdentical => {
                    is_command_line(binary.left, binary.right, view).not()
                }
                _ => Truth::Unknown,
            }
        }
        ExprKind::FunctionCall(call) if function_name(call, view).as_deref() == Some("defined") => {
            let name = call.args.first().and_then(|arg| arg.value());
            match name.map(|name| &name.kind) {
                Some(ExprKind::String(name)) => match name.as_bytes() {
                    b"DOING_ASYNC" | b"ABSPATH" | b"DOMAIN_CURRENT_SITE" => Truth::Yes,
                    b"WP_CLI" | b"DOING_CRON" | b"DOING_AJAX" => Truth::No,
                    _ => Truth::Unknown,
                },
                _ => Truth::Unknown,
            }
        }
        _ => Truth::Unknown,
    }
}

/// Evaluates `PHP_SAPI === 'cli'` in either order, or with `php_sapi_name()`.
fn is_command_line(left: &Expr<'_, '_>, right: &Expr<'_, '_>, view: &str) -> Truth {
    let asks = |expr: &Expr<'_, '_>| match &bare(expr).kind {
        ExprKind::Name(name) => global_name(name, view) == Some("PHP_SAPI"),
        ExprKind::FunctionCall(call) => {
            function_name(call, view).as_deref() == Some("php_sapi_name")
        }
        _ => false,
    };
    let named = match (asks(left), asks(right)) {
        (true, false) => right,
        (false, true) => left,
        _ => return Truth::Unknown,
    };
    match &bare(named).kind {
        ExprKind::String(text) => (text.as_bytes() == b"cli").into(),
        _ => Truth::Unknown,
    }
}

/// `$_SERVER['HTTP_HOST']`
pub fn is_http_host(expr: &Expr<'_, '_>) -> bool {
    let ExprKind::ArrayAccess(access) = &bare(expr).kind else {
        return false;
    };
    let array =
        matches!(&access.array.kind, ExprKind::Variable(name) if name.as_str() == "_SERVER");
    let index = access.index.is_some_and(
        |index| matches!(&index.kind, ExprKind::String(text) if text.as_bytes() == b"HTTP_HOST"),
    );
    array && index
}
