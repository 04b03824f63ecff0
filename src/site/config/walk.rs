//! Walks the tree once and records everything that matters to us, in the order in
//! which PHP runs it. This file knows under which conditions code runs;
//! `definitions.rs` knows what a call or an assignment means.

use crate::site::config::events::{Event, Kind, MAX_EVENTS, Opaque, Place, Seen, Top, is_sign};
use crate::site::config::folders::{KnownFolders, is_folder};
use crate::site::config::guards::{Guard, SERVERS};
use crate::site::config::php::Trivia;
use crate::site::config::reader::{Location, Reader, State};
use crate::site::config::shapes::{
    self, defines_abspath, host_functions, servers_target, short_circuits,
};
use crate::site::config::truth::Truth;
use crate::site::config::value::bare;
use crate::site::plugins::constants;
use php_ast::visitor::{Visitor, walk_expr, walk_stmt};
use php_ast::{
    BinaryExpr, BinaryOp, Expr, ExprKind, IfStmt, NamespaceBody, Program, Stmt, StmtKind,
    TernaryExpr,
};
use std::collections::HashSet;
use std::convert::Infallible;
use std::ops::ControlFlow;

pub fn see(
    program: &Program<'_, '_>,
    view: &str,
    source: &[u8],
    trivia: Trivia,
    old_grammar: bool,
    location: Location<'_>,
) -> Seen {
    let mut walker = Walker {
        view,
        source,
        location,
        place: Place::default(),
        worker: Truth::Yes,
        by_host: false,
        state: State {
            host_functions: host_functions(&program.stmts),
            ..State::default()
        },
        folders: KnownFolders::new(),
        settings_variables: HashSet::new(),
        loading_functions: shapes::loading_functions(&program.stmts),
        namespaced: false,
        seen: Seen {
            trivia,
            old_grammar,
            ..Seen::default()
        },
    };
    walker.list(&program.stmts, 0);
    walker.seen
}

pub struct Walker<'w> {
    pub view: &'w str,
    pub source: &'w [u8],
    location: Location<'w>,
    pub place: Place,
    /// Whether a worker on the command line runs this code.
    pub worker: Truth,
    /// Whether this code runs depends on the request's host name.
    by_host: bool,
    pub state: State,
    /// Folders that constants and variables hold.
    pub folders: KnownFolders,
    /// Variables that hold the path of `wp-settings.php`.
    pub settings_variables: HashSet<String>,
    /// Functions of this file that load WordPress.
    pub loading_functions: HashSet<String>,
    pub namespaced: bool,
    pub seen: Seen,
}

impl<'w> Walker<'w> {
    fn list(&mut self, stmts: &[Stmt<'_, '_>], list: usize) {
        for stmt in stmts {
            if let StmtKind::Namespace(namespace) = &stmt.kind {
                self.namespaced = namespace.name.is_some();
                if let NamespaceBody::Braced(block) = &namespace.body {
                    self.list(&block.stmts, block.span.start as usize + 1);
                    continue;
                }
            }
            self.seen.tops.push(Top {
                at: stmt.span.start as usize..stmt.span.end as usize,
                abspath: defines_abspath(stmt, self.view),
                declares: matches!(
                    stmt.kind,
                    StmtKind::Function(_)
                        | StmtKind::Class(_)
                        | StmtKind::Interface(_)
                        | StmtKind::Trait(_)
                        | StmtKind::Enum(_)
                ),
                first: matches!(stmt.kind, StmtKind::Declare(_) | StmtKind::Namespace(_)),
                namespaced: self.namespaced,
                list,
                path: false,
            });
            let _ = self.visit_stmt(stmt);
        }
    }

    fn reading(&self, as_worker: bool) -> Reader<'_> {
        Reader {
            view: self.view,
            source: self.source,
            state: &self.state,
            location: self.location,
            as_worker,
        }
    }

    /// Reads what is the same for everybody.
    pub fn reader(&self) -> Reader<'_> {
        self.reading(false)
    }

    /// Reads what a worker sees.
    pub fn as_worker(&self) -> Reader<'_> {
        self.reading(true)
    }

    pub fn note(&mut self, kind: Kind, at: usize) {
        if self.seen.events.len() > MAX_EVENTS {
            return;
        }
        let top = self.seen.tops.len().saturating_sub(1);
        let place = self.place.clone();
        self.seen.events.push(Event {
            kind,
            at,
            place,
            top,
        });
    }

    /// Whether the host name decides on whether this code runs.
    pub fn is_by_host(&self) -> bool {
        self.by_host
    }

    /// Whether code runs only for some hosts, or not for a worker.
    pub fn is_for_some_hosts(&self) -> bool {
        self.by_host || self.worker == Truth::No
    }

    fn within(
        &mut self,
        change: impl FnOnce(&mut Place),
        truth: Truth,
        run: impl FnOnce(&mut Self),
    ) {
        let (place, worker) = (self.place.clone(), self.worker);
        change(&mut self.place);
        self.worker = self.worker.and(truth);
        run(self);
        (self.place, self.worker) = (place, worker);
    }

    fn in_branch(&mut self, truth: Truth, run: impl FnOnce(&mut Self)) {
        self.within(|place| Guard::Other.enter(place), truth, run);
    }

    fn in_function(&mut self, run: impl FnOnce(&mut Self)) {
        let by_host = std::mem::replace(&mut self.by_host, false);
        self.within(|place| place.function = true, Truth::Unknown, run);
        self.by_host = by_host;
    }

    /// Runs `run` for the branches of a condition or of a loop over `expr`.
    fn depending_on(&mut self, expr: &Expr<'_, '_>, run: impl FnOnce(&mut Self)) {
        let by_host = self.by_host;
        self.by_host |= self.reader().mentions_host(expr);
        run(self);
        self.by_host = by_host;
    }

    /// What a condition means, after what it contains was recorded. A guard of the
    /// servers only reads them.
    fn condition(&mut self, expr: &Expr<'_, '_>) -> Guard {
        let guard = self.reader().guard(expr);
        let reads = matches!(&guard, Guard::Unless(name) | Guard::If(name) if name == SERVERS);
        if !reads {
            let _ = self.visit_expr(expr);
        }
        guard
    }

    fn branch_if(&mut self, stmt: &IfStmt<'_, '_>) {
        let guard = self.condition(&stmt.condition);
        let truth = self.as_worker().truth(&stmt.condition);
        let otherwise = match &guard {
            Guard::If(name) if stmt.elseif_branches.is_empty() => Some(name.clone()),
            _ => None,
        };
        self.depending_on(&stmt.condition, |walker| {
            walker.within(
                |place| guard.enter(place),
                truth,
                |walker| {
                    let _ = walker.visit_stmt(stmt.then_branch);
                },
            );
            let mut so_far = truth.not();
            for branch in stmt.elseif_branches.iter() {
                walker.in_branch(so_far, |walker| {
                    let _ = walker.visit_expr(&branch.condition);
                });
                let truth = walker.as_worker().truth(&branch.condition);
                walker.depending_on(&branch.condition, |walker| {
                    walker.in_branch(so_far.and(truth), |walker| {
                        let _ = walker.visit_stmt(&branch.body);
                    });
                });
                so_far = so_far.and(truth.not());
            }
            if let Some(other) = stmt.else_branch {
                let enter = |place: &mut Place| match otherwise {
                    Some(name) => place.enter_unless(name),
                    None => Guard::Other.enter(place),
                };
                walker.within(enter, so_far, |walker| {
                    let _ = walker.visit_stmt(other);
                });
            }
        });
    }

    fn ternary(&mut self, ternary: &TernaryExpr<'_, '_>) {
        let guard = self.condition(ternary.condition);
        let truth = self.as_worker().truth(ternary.condition);
        let (then, other) = match guard {
            Guard::Unless(name) => (Guard::Unless(name), Guard::Other),
            Guard::If(name) => (Guard::Other, Guard::Unless(name)),
            _ => (Guard::Other, Guard::Other),
        };
        self.depending_on(ternary.condition, |walker| {
            if let Some(expr) = ternary.then_expr {
                walker.within(
                    |place| then.enter(place),
                    truth,
                    |walker| {
                        let _ = walker.visit_expr(expr);
                    },
                );
            }
            walker.within(
                |place| other.enter(place),
                truth.not(),
                |walker| {
                    let _ = walker.visit_expr(ternary.else_expr);
                },
            );
        });
    }

    /// `left && right` and `left || right`. Returns whether it depends on the request's
    /// host name: chains are long, so no part of one is looked at twice.
    fn short_circuit(&mut self, binary: &BinaryExpr<'_, '_>) -> bool {
        let or = matches!(binary.op, BinaryOp::BooleanOr | BinaryOp::LogicalOr);
        let (guard, truth, by_host) = match &bare(binary.left).kind {
            ExprKind::Binary(left) if short_circuits(left.op) => {
                let by_host = self.short_circuit(left);
                let reader = self.as_worker();
                let (guard, truth) = (reader.guard(binary.left), reader.truth(binary.left));
                (guard, truth, by_host)
            }
            _ => {
                let guard = self.condition(binary.left);
                let reader = self.as_worker();
                let by_host = reader.mentions_host(binary.left);
                (guard, reader.truth(binary.left), by_host)
            }
        };
        let guard = match guard {
            Guard::If(name) if or => Guard::Unless(name),
            Guard::Unless(name) if !or => Guard::Unless(name),
            _ => Guard::Other,
        };
        let outer = self.by_host;
        self.by_host |= by_host;
        self.within(
            |place| guard.enter(place),
            if or { truth.not() } else { truth },
            |walker| {
                let _ = walker.visit_expr(binary.right);
            },
        );
        self.by_host = outer;
        by_host || self.reader().mentions_host(binary.right)
    }

    fn exit(&mut self, returns: bool, at: usize) {
        let (worker, by_host) = (self.worker, self.by_host);
        self.note(
            Kind::Exit {
                worker,
                by_host,
                returns,
            },
            at,
        );
    }
}

/// What a loop or a `switch` goes by.
fn subject<'s, 'a, 'b>(stmt: &'s Stmt<'a, 'b>) -> Option<&'s Expr<'a, 'b>> {
    match &stmt.kind {
        StmtKind::While(it) => Some(&it.condition),
        StmtKind::Foreach(it) => Some(&it.expr),
        StmtKind::Switch(it) => Some(&it.expr),
        _ => None,
    }
}

impl<'a, 's> Visitor<'a, 's> for Walker<'_> {
    type Break = Infallible;

    fn visit_stmt(&mut self, stmt: &Stmt<'a, 's>) -> ControlFlow<Infallible> {
        let at = stmt.span.start as usize;
        match &stmt.kind {
            StmtKind::If(branches) => self.branch_if(branches),
            StmtKind::While(_)
            | StmtKind::For(_)
            | StmtKind::Foreach(_)
            | StmtKind::DoWhile(_)
            | StmtKind::Switch(_)
            | StmtKind::TryCatch(_) => {
                if let StmtKind::Foreach(each) = &stmt.kind {
                    self.each(each, at);
                }
                let run = |walker: &mut Self| {
                    walker.in_branch(Truth::Unknown, |walker| {
                        let _ = walk_stmt(walker, stmt);
                    });
                };
                match subject(stmt) {
                    Some(expr) => self.depending_on(expr, run),
                    None => run(self),
                }
            }
            StmtKind::Function(_)
            | StmtKind::Class(_)
            | StmtKind::Interface(_)
            | StmtKind::Trait(_)
            | StmtKind::Enum(_) => self.in_function(|walker| {
                let _ = walk_stmt(walker, stmt);
            }),
            StmtKind::Const(items) => {
                for item in items.iter() {
                    if !self.namespaced
                        && let Some(name) = item.name.as_str()
                    {
                        self.define(name.to_owned(), &item.value, at);
                    }
                    let _ = self.visit_expr(&item.value);
                }
            }
            StmtKind::Use(names) => {
                self.import(names);
            }
            StmtKind::Global(variables) => {
                if variables.iter().any(|it| servers_target(it).is_some()) {
                    self.note(Kind::Global, at);
                }
            }
            StmtKind::Return(_) | StmtKind::Throw(_) => {
                let _ = walk_stmt(self, stmt);
                self.exit(matches!(stmt.kind, StmtKind::Return(_)), at);
            }
            StmtKind::Goto(_) => self.note(Kind::Jump, at),
            _ => {
                let _ = walk_stmt(self, stmt);
            }
        }
        ControlFlow::Continue(())
    }

    fn visit_expr(&mut self, expr: &Expr<'a, 's>) -> ControlFlow<Infallible> {
        let at = expr.span.start as usize;
        match &expr.kind {
            ExprKind::FunctionCall(call) => self.call(call, expr),
            ExprKind::StaticMethodCall(call) => self.static_call(call, expr),
            ExprKind::Assign(assign) => self.assign(assign, expr),
            ExprKind::Include(_, path) => self.include(path, at),
            ExprKind::Eval(code) => {
                let _ = self.visit_expr(code);
                self.forget_variables();
                self.note(Kind::Opaque(Opaque::Eval), at);
            }
            ExprKind::Exit(_) | ExprKind::Throw(_) => {
                let _ = walk_expr(self, expr);
                self.exit(false, at);
            }
            ExprKind::Closure(_) | ExprKind::ArrowFunction(_) | ExprKind::AnonymousClass(_) => self
                .in_function(|walker| {
                    let _ = walk_expr(walker, expr);
                }),
            ExprKind::Binary(binary) if short_circuits(binary.op) => {
                self.short_circuit(binary);
            }
            ExprKind::Ternary(ternary) => self.ternary(ternary),
            ExprKind::NullCoalesce(either) => {
                let _ = self.visit_expr(either.left);
                self.in_branch(Truth::Unknown, |walker| {
                    let _ = walker.visit_expr(either.right);
                });
            }
            ExprKind::Match(matching) => self.depending_on(matching.subject, |walker| {
                walker.in_branch(Truth::Unknown, |walker| {
                    let _ = walk_expr(walker, expr);
                });
            }),
            ExprKind::Array(elements) => {
                for element in elements.iter() {
                    self.entry(element);
                }
            }
            ExprKind::Isset(_) | ExprKind::Empty(_) => {}
            ExprKind::Variable(_) if servers_target(expr) == Some(false) => {
                // Reading it is harmless, but a call may take it by reference.
                self.note(Kind::Touched, at)
            }
            ExprKind::ArrayAccess(_) if servers_target(expr).is_some() => {
                self.note(Kind::Touched, at)
            }
            ExprKind::VariableVariable(_) => {
                self.note(Kind::Opaque(Opaque::ComputedVariable), at);
                let _ = walk_expr(self, expr);
            }
            ExprKind::String(text) => {
                let text = String::from_utf8_lossy(text.as_bytes());
                if constants().contains(&&*text) {
                    self.note(Kind::Mention(text.into_owned()), at);
                } else if is_folder(&text) {
                    let name = text.into_owned();
                    let (folder, collected) = (None, false);
                    let kind = Kind::Folder {
                        name,
                        folder,
                        collected,
                    };
                    self.note(kind, at);
                } else if is_sign(&text) {
                    self.note(Kind::Sign(text.into_owned()), at);
                } else if text.eq_ignore_ascii_case("define") {
                    self.note(Kind::Opaque(Opaque::IndirectDefine), at);
                }
            }
            _ => {
                let _ = walk_expr(self, expr);
            }
        }
        ControlFlow::Continue(())
    }
}
