//! Recognizes conditions that guard a definition: that its name is not yet taken, or
//! that a file exists.

use crate::site::config::events::Place;
use crate::site::config::reader::Reader;
use crate::site::config::shapes::{defined, servers_target};
use crate::site::config::value::{bare, function_name};
use php_ast::{BinaryOp, CastKind, Expr, ExprKind, UnaryPrefixOp};

/// The list of servers, in the place of a constant's name.
pub const SERVERS: &str = "$gearman_servers";

/// What the branches of a condition mean.
#[derive(Debug, Clone, PartialEq)]
pub enum Guard {
    /// True if this is not yet defined.
    Unless(String),
    /// True if this is already defined.
    If(String),
    IfFile(String),
    /// Only the environment decides.
    Environment,
    Always,
    Other,
}

impl Guard {
    /// Enters the branch in which the condition is true.
    pub fn enter(self, place: &mut Place) {
        match self {
            Guard::Unless(name) => place.enter_unless(name),
            Guard::Always => {}
            Guard::IfFile(path) => place.enter_if_file(path),
            Guard::Environment if !place.branch => {
                place.branch = true;
                place.environment = true;
            }
            _ => place.enter_branch(),
        }
    }

    fn not(self) -> Guard {
        match self {
            Guard::Unless(name) => Guard::If(name),
            Guard::If(name) => Guard::Unless(name),
            _ => Guard::Other,
        }
    }
}

impl Reader<'_> {
    pub fn guard(&self, expr: &Expr<'_, '_>) -> Guard {
        match self.guard_within(expr, 8) {
            Guard::Other if self.asks_environment(expr) => Guard::Environment,
            guard => guard,
        }
    }

    fn guard_within(&self, expr: &Expr<'_, '_>, depth: usize) -> Guard {
        let Some(depth) = depth.checked_sub(1) else {
            return Guard::Other;
        };
        let expr = bare(expr);
        if let Some(name) = defined(expr, self.view) {
            return Guard::If(name);
        }
        match &expr.kind {
            ExprKind::Cast(CastKind::Bool, inner) => self.guard_within(inner, depth),
            ExprKind::Bool(true) => Guard::Always,
            ExprKind::UnaryPrefix(unary) if unary.op == UnaryPrefixOp::BooleanNot => {
                self.guard_within(unary.operand, depth).not()
            }
            ExprKind::Empty(what) if servers_target(what).is_some() => {
                Guard::Unless(SERVERS.to_owned())
            }
            ExprKind::Isset(what) => match &what[..] {
                [only] if servers_target(only).is_some() => Guard::If(SERVERS.to_owned()),
                _ => Guard::Other,
            },
            _ if servers_target(expr).is_some() => Guard::If(SERVERS.to_owned()),
            ExprKind::Binary(binary) => {
                let side = |expr| self.guard_within(expr, depth);
                match binary.op {
                    BinaryOp::BooleanOr
                    | BinaryOp::LogicalOr
                    | BinaryOp::BooleanAnd
                    | BinaryOp::LogicalAnd => match (side(binary.left), side(binary.right)) {
                        (left, right) if left == right => left,
                        _ => Guard::Other,
                    },
                    op => {
                        let (guard, other) = match (truth(binary.left), truth(binary.right)) {
                            (None, Some(other)) => (side(binary.left), other),
                            (Some(other), None) => (side(binary.right), other),
                            _ => return Guard::Other,
                        };
                        match op {
                            BinaryOp::Equal | BinaryOp::Identical if other => guard,
                            BinaryOp::Equal | BinaryOp::Identical => guard.not(),
                            BinaryOp::NotEqual | BinaryOp::NotIdentical if other => guard.not(),
                            BinaryOp::NotEqual | BinaryOp::NotIdentical => guard,
                            _ => Guard::Other,
                        }
                    }
                }
            }
            ExprKind::FunctionCall(call) => {
                let [only] = &call.args[..] else {
                    return Guard::Other;
                };
                match (function_name(call, self.view).as_deref(), only.value()) {
                    (Some("file_exists" | "is_readable" | "is_file"), Some(path)) => {
                        self.path(path).map_or(Guard::Other, Guard::IfFile)
                    }
                    (Some("is_array"), Some(what)) if servers_target(what).is_some() => {
                        Guard::If(SERVERS.to_owned())
                    }
                    (Some("is_null"), Some(what)) if servers_target(what).is_some() => {
                        Guard::Unless(SERVERS.to_owned())
                    }
                    _ => Guard::Other,
                }
            }
            _ => Guard::Other,
        }
    }
}

/// `true`, `false`, or `null`, which compares like `false`.
fn truth(expr: &Expr<'_, '_>) -> Option<bool> {
    match &bare(expr).kind {
        ExprKind::Bool(value) => Some(*value),
        ExprKind::Null => Some(false),
        _ => None,
    }
}
