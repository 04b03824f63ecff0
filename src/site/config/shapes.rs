//! Recognizes shapes of code.

use crate::site::config::value::{bare, function_name, walk};
use php_ast::{BinaryOp, Expr, ExprKind, Stmt, StmtKind, StringPart};

pub fn short_circuits(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::BooleanAnd | BinaryOp::BooleanOr | BinaryOp::LogicalAnd | BinaryOp::LogicalOr
    )
}

/// `$gearman_servers` (false) or `$GLOBALS['gearman_servers']` (true).
pub fn servers_target(expr: &Expr<'_, '_>) -> Option<bool> {
    match &bare(expr).kind {
        ExprKind::Variable(name) if name.as_str() == "gearman_servers" => Some(false),
        ExprKind::ArrayAccess(access) => {
            let ExprKind::Variable(array) = &access.array.kind else {
                return None;
            };
            let index = &access.index?.kind;
            let ours =
                matches!(index, ExprKind::String(text) if text.as_bytes() == b"gearman_servers");
            (array.as_str() == "GLOBALS" && ours).then_some(true)
        }
        _ => None,
    }
}

/// The name in `defined( 'NAME' )`.
pub fn defined(expr: &Expr<'_, '_>, view: &str) -> Option<String> {
    let ExprKind::FunctionCall(call) = &bare(expr).kind else {
        return None;
    };
    if function_name(call, view)? != "defined" {
        return None;
    }
    let [only] = &call.args[..] else { return None };
    match &bare(only.value()?).kind {
        ExprKind::String(name) => name.to_str().map(str::to_owned),
        _ => None,
    }
}

/// Whether a path ends in `wp-settings.php`, in any way of composing it.
pub fn names_settings(path: &Expr<'_, '_>) -> bool {
    let mut found = false;
    walk(path, &mut |inner| {
        let last = match &inner.kind {
            ExprKind::String(text) => text.as_bytes(),
            ExprKind::InterpolatedString(parts) | ExprKind::Heredoc { parts, .. } => {
                match parts.last() {
                    Some(StringPart::Literal(text)) => text.as_bytes(),
                    _ => return,
                }
            }
            _ => return,
        };
        found |= last
            .strip_suffix(b"wp-settings.php")
            .is_some_and(|before| before.last().is_none_or(|b| matches!(b, b'/' | b'\\')));
    });
    found
}

/// Whether a statement is `if ( ! defined( 'ABSPATH' ) ) define( 'ABSPATH', … );`
/// in any form, with nothing else in it.
pub fn defines_abspath(stmt: &Stmt<'_, '_>, view: &str) -> bool {
    match &stmt.kind {
        StmtKind::If(branches) => {
            branches.elseif_branches.is_empty()
                && branches.else_branch.is_none()
                && defines_abspath(branches.then_branch, view)
        }
        StmtKind::Block(block) => match &block.stmts[..] {
            [only] => defines_abspath(only, view),
            _ => false,
        },
        StmtKind::Expression(expr) => {
            let mut expr = bare(expr);
            while let ExprKind::Binary(binary) = &expr.kind {
                expr = bare(binary.right);
            }
            let ExprKind::FunctionCall(call) = &expr.kind else {
                return false;
            };
            function_name(call, view).as_deref() == Some("define")
                && call.args.first().and_then(|arg| arg.value()).is_some_and(
                    |name| matches!(&name.kind, ExprKind::String(text) if text.as_bytes() == b"ABSPATH"),
                )
        }
        _ => false,
    }
}
