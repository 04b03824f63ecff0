//! Evaluates conditions for a worker, which runs on PHP's command line without a
//! host name, started by the plugin's runner.

use crate::site::config::reader::Reader;
use crate::site::config::truth::Truth;
use crate::site::config::value::{Value, bare, function_name, global_name};
use php_ast::{BinaryOp, Expr, ExprKind, UnaryPrefixOp};

impl Reader<'_> {
    pub fn truth(&self, expr: &Expr<'_, '_>) -> Truth {
        self.truth_within(expr, 16)
    }

    /// The recursion is limited in depth, as chains can be long.
    fn truth_within(&self, expr: &Expr<'_, '_>, depth: usize) -> Truth {
        let Some(depth) = depth.checked_sub(1) else {
            return Truth::Unknown;
        };
        let view = self.view;
        let expr = bare(expr);
        match &expr.kind {
            ExprKind::Bool(value) => (*value).into(),
            ExprKind::Name(name) => match global_name(name, view) {
                Some("DOING_ASYNC") => Truth::Yes,
                _ => Truth::Unknown,
            },
            ExprKind::UnaryPrefix(unary) if unary.op == UnaryPrefixOp::BooleanNot => {
                self.truth_within(unary.operand, depth).not()
            }
            ExprKind::Isset(what) => {
                let each = what.iter().map(|what| self.is_set(what));
                each.fold(Truth::Yes, Truth::and)
            }
            ExprKind::Empty(what) => self.request_truth(what).not(),
            ExprKind::Binary(binary) => {
                let side = |expr| self.truth_within(expr, depth);
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
                        let strict = binary.op == BinaryOp::Identical;
                        self.equal(binary.left, binary.right, strict)
                    }
                    BinaryOp::NotEqual | BinaryOp::NotIdentical => {
                        let strict = binary.op == BinaryOp::NotIdentical;
                        self.equal(binary.left, binary.right, strict).not()
                    }
                    _ => Truth::Unknown,
                }
            }
            ExprKind::FunctionCall(call)
                if function_name(call, view).as_deref() == Some("defined") =>
            {
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
            ExprKind::Variable(_) | ExprKind::ArrayAccess(_) => self.request_truth(expr),
            _ => Truth::Unknown,
        }
    }

    /// Whether something of the request, or a variable that holds it, is true.
    fn request_truth(&self, expr: &Expr<'_, '_>) -> Truth {
        match self.value(expr) {
            Value::Text(_) | Value::Absent => self.value(expr).truthy().into(),
            _ => Truth::Unknown,
        }
    }

    /// Compares what kind of PHP this is, or texts of which one may be of the request.
    fn equal(&self, left: &Expr<'_, '_>, right: &Expr<'_, '_>, strict: bool) -> Truth {
        match is_command_line(left, right, self.view) {
            Truth::Unknown => match (self.value(left), self.value(right)) {
                (Value::Text(left), Value::Text(right)) => (left == right).into(),
                (Value::Absent, Value::Text(text)) | (Value::Text(text), Value::Absent) => {
                    (!strict && text.is_empty()).into()
                }
                _ => Truth::Unknown,
            },
            truth => truth,
        }
    }

    fn is_set(&self, expr: &Expr<'_, '_>) -> Truth {
        match self.value(expr) {
            Value::Absent | Value::Null => Truth::No,
            Value::Text(_) => Truth::Yes,
            _ => Truth::Unknown,
        }
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
