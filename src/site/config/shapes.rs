//! Recognizes shapes of code.

use crate::site::config::value::{bare, chain, function_name, walk};
use php_ast::visitor::{Visitor, walk_expr};
use php_ast::{BinaryOp, Expr, ExprKind, Stmt, StmtKind, StringPart};
use std::collections::HashSet;
use std::convert::Infallible;
use std::ops::ControlFlow;

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
    const FILE: &[u8] = b"wp-settings.php";
    let ends = |text: &[u8]| {
        text.strip_suffix(FILE).is_some_and(|before| {
            before.last().is_none_or(|b| matches!(b, b'/' | b'\\'))
                // The placeholder of a format.
                || before.ends_with(b"s") && before.contains(&b'%')
        })
    };
    // `'wp-settings' . '.php'`
    let mut tail = Vec::new();
    for piece in chain(bare(path)).into_iter().rev() {
        match &bare(piece).kind {
            ExprKind::String(piece) if tail.len() <= FILE.len() => {
                tail = [piece.as_bytes(), &tail].concat();
            }
            _ => break,
        }
    }
    let mut found = ends(&tail);
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
        found |= ends(last);
    });
    found
}

/// The functions that load WordPress, in lowercase.
pub fn loading_functions(stmts: &[Stmt<'_, '_>]) -> HashSet<String> {
    functions(
        stmts,
        &|expr| matches!(&expr.kind, ExprKind::Include(_, path) if names_settings(path)),
    )
}

/// The functions that read the request's host name, in lowercase.
pub fn host_functions(stmts: &[Stmt<'_, '_>]) -> HashSet<String> {
    functions(stmts, &|expr| {
        matches!(&expr.kind, ExprKind::String(text)
            if matches!(text.as_bytes(), b"HTTP_HOST" | b"SERVER_NAME" | b"HTTP_X_FORWARDED_HOST"))
    })
}

/// The names of the functions that contain such an expression.
fn functions(stmts: &[Stmt<'_, '_>], is: &dyn Fn(&Expr<'_, '_>) -> bool) -> HashSet<String> {
    struct Find<'f> {
        is: &'f dyn Fn(&Expr<'_, '_>) -> bool,
        found: bool,
    }
    impl<'a, 's> Visitor<'a, 's> for Find<'_> {
        type Break = Infallible;
        fn visit_expr(&mut self, expr: &Expr<'a, 's>) -> ControlFlow<Infallible> {
            self.found |= (self.is)(expr);
            walk_expr(self, expr)
        }
    }
    let mut names = HashSet::new();
    for stmt in stmts {
        let mut find = Find { is, found: false };
        match &stmt.kind {
            StmtKind::Function(function) => {
                for inner in function.body.stmts.iter() {
                    let _ = find.visit_stmt(inner);
                }
                if find.found
                    && let Some(name) = function.name.as_str()
                {
                    names.insert(name.to_ascii_lowercase());
                }
            }
            // `if ( ! function_exists( … ) ) { function … }`
            StmtKind::If(branch) => {
                names.extend(functions(std::slice::from_ref(branch.then_branch), is));
            }
            StmtKind::Block(block) => names.extend(functions(&block.stmts, is)),
            _ => {}
        }
    }
    names
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
