//! Walks the tree once and records everything that matters to us, in the order in
//! which PHP runs it.

use crate::site::config::events::{
    Event, Kind, Opaque, Place, Seen, Top, is_watched, resembles_watched,
};
use crate::site::config::folders::{self, KnownFolders, is_folder};
use crate::site::config::php::Trivia;
use crate::site::config::shapes::{
    defined, defines_abspath, names_settings, servers_target, short_circuits,
};
use crate::site::config::value::{Known, Reader, Value, bare, function_name, global_name, span};
use crate::site::config::worker::{self, Truth};
use crate::site::plugins::constants;
use php_ast::visitor::{Visitor, walk_expr, walk_stmt};
use php_ast::{
    ArgKind, AssignOp, BinaryOp, Expr, ExprKind, IfStmt, NamespaceBody, Program, Stmt, StmtKind,
    UnaryPrefixOp,
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
) -> Seen {
    let mut walker = Walker {
        view,
        source,
        place: Place::default(),
        worker: Truth::Yes,
        known: Known::new(),
        folders: KnownFolders::new(),
        host_variables: HashSet::new(),
        settings_variables: HashSet::new(),
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

struct Walker<'w> {
    view: &'w str,
    source: &'w [u8],
    place: Place,
    /// Whether a worker on the command line runs this code.
    worker: Truth,
    known: Known,
    folders: KnownFolders,
    host_variables: HashSet<String>,
    settings_variables: HashSet<String>,
    namespaced: bool,
    seen: Seen,
}

impl Walker<'_> {
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
                list,
            });
            let _ = self.visit_stmt(stmt);
        }
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            view: self.view,
            source: self.source,
            known: &self.known,
            host_variables: &self.host_variables,
        }
    }

    fn note(&mut self, kind: Kind, at: usize) {
        let top = self.seen.tops.len().saturating_sub(1);
        let place = self.place.clone();
        self.seen.events.push(Event {
            kind,
            at,
            place,
            top,
        });
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
        self.within(|place| place.branch = true, truth, run);
    }

    fn in_function(&mut self, run: impl FnOnce(&mut Self)) {
        self.within(|place| place.function = true, Truth::Unknown, run);
    }

    fn branch_if(&mut self, stmt: &IfStmt<'_, '_>) {
        let _ = self.visit_expr(&stmt.condition);
        let truth = worker::truth(&stmt.condition, self.view);
        let condition = self.condition(&stmt.condition);
        self.within(
            |place| condition.enter(place),
            truth,
            |walker| {
                let _ = walker.visit_stmt(stmt.then_branch);
            },
        );
        let mut so_far = truth.not();
        for branch in stmt.elseif_branches.iter() {
            self.in_branch(so_far, |walker| {
                let _ = walker.visit_expr(&branch.condition);
            });
            let truth = worker::truth(&branch.condition, self.view);
            self.in_branch(so_far.and(truth), |walker| {
                let _ = walker.visit_stmt(&branch.body);
            });
            so_far = so_far.and(truth.not());
        }
        if let Some(other) = stmt.else_branch {
            self.in_branch(so_far, |walker| {
                let _ = walker.visit_stmt(other);
            });
        }
    }

    /// Classifies the condition of an `if`. Recognizes the common guards against a
    /// second definition.
    fn condition(&self, expr: &Expr<'_, '_>) -> Condition {
        let expr = bare(expr);
        if let ExprKind::UnaryPrefix(unary) = &expr.kind
            && unary.op == UnaryPrefixOp::BooleanNot
            && let Some(name) = defined(unary.operand, self.view)
        {
            return Condition::Unless(name);
        }
        if let ExprKind::FunctionCall(call) = &expr.kind
            && let Some("file_exists" | "is_readable" | "is_file") =
                function_name(call, self.view).as_deref()
            && let [only] = &call.args[..]
            && let Some(path) = only.value().and_then(|arg| self.reader().path(arg))
        {
            return Condition::IfFile(path);
        }
        if let ExprKind::Bool(true) = &expr.kind {
            return Condition::Always;
        }
        Condition::Other
    }

    fn define(&mut self, name: String, value: &Expr<'_, '_>, at: usize) {
        let value_at = span(value);
        let folder = folders::folder(value, &self.reader(), &self.folders);
        let value = self.reader().value(value);
        if is_folder(&name) {
            let (name, folder) = (name.clone(), folder.clone());
            self.note(Kind::Folder { name, folder }, at);
        }
        // Behind a guard it is known only if nothing unseen came first.
        let unseen = |event: &Event| matches!(event.kind, Kind::Include(_) | Kind::Opaque(_));
        let guarded = self.place.unless == [name.clone()]
            && !self.place.branch
            && !self.seen.events.iter().any(unseen);
        if self.place.sure() || guarded {
            self.known
                .entry(name.clone())
                .or_insert_with(|| value.clone());
            if let Some(folder) = folder {
                self.folders.entry(name.clone()).or_insert(folder);
            }
        }
        if resembles_watched(&name) {
            self.note(
                Kind::Define {
                    name,
                    value,
                    value_at,
                },
                at,
            );
        }
    }

    fn call(&mut self, call: &php_ast::FunctionCallExpr<'_, '_>, expr: &Expr<'_, '_>) {
        let at = expr.span.start as usize;
        match function_name(call, self.view).as_deref() {
            Some("define") => {
                let argument = |index: usize, named: &str| {
                    call.args
                        .iter()
                        .enumerate()
                        .find(|(i, arg)| match &arg.name {
                            Some(name) => name.src_repr(self.view) == named,
                            None => *i == index,
                        })
                        .and_then(|(_, arg)| match &arg.kind {
                            ArgKind::Value(value) => Some(value),
                            _ => None,
                        })
                };
                let (name, value) = (argument(0, "constant_name"), argument(1, "value"));
                let (Some(name), Some(value)) = (name, value) else {
                    return self.note(Kind::Opaque(Opaque::ComputedDefinition), at);
                };
                match self.reader().value(name) {
                    Value::Text(name) => {
                        self.define(name.trim_start_matches('\\').to_owned(), value, at)
                    }
                    Value::Bareword(name) if is_watched(&name) => self.note(
                        Kind::Define {
                            name: name.clone(),
                            // The name is not in quotes, which is fatal since PHP 8.
                            value: Value::Bareword(name),
                            value_at: span(value),
                        },
                        at,
                    ),
                    _ => self.note(Kind::Opaque(Opaque::ComputedConstant), at),
                }
                let _ = self.visit_expr(value);
            }
            Some("defined" | "constant" | "file_exists") => {}
            Some("extract" | "parse_str") => {
                self.note(Kind::Opaque(Opaque::Extract), at);
                let _ = walk_expr(self, expr);
            }
            _ => {
                let _ = walk_expr(self, expr);
            }
        }
    }

    fn assign(&mut self, assign: &php_ast::AssignExpr<'_, '_>, expr: &Expr<'_, '_>) {
        let at = expr.span.start as usize;
        let plain = assign.op == AssignOp::Assign && !assign.by_ref;
        let target = servers_target(assign.target);
        let kind = match target {
            Some(global) if plain => self.servers(assign.value, global),
            _ => Kind::Touched,
        };
        // A list may contain calls; the other two shapes only read the variable.
        if !matches!(kind, Kind::Global | Kind::Servers { yields: true, .. }) {
            let _ = self.visit_expr(assign.value);
        }
        if target.is_some() {
            return self.note(kind, at);
        }
        if let ExprKind::Variable(name) = &assign.target.kind {
            let name = name.as_str().to_owned();
            let folder = folders::folder(assign.value, &self.reader(), &self.folders);
            match folder.filter(|_| plain && self.place.sure()) {
                Some(folder) => drop(self.folders.insert(format!("${name}"), folder)),
                None => drop(self.folders.remove(&format!("${name}"))),
            }
            if self.reader().depends_on_host(assign.value) {
                self.host_variables.insert(name.clone());
            }
            if names_settings(assign.value) {
                self.settings_variables.insert(name);
            }
        }
        if let ExprKind::ArrayAccess(access) = &assign.target.kind {
            if let Some(global) = servers_target(access.array) {
                let kind = match (plain, access.index) {
                    (true, None) => Kind::Push(self.reader().value(assign.value), global),
                    _ => Kind::Touched,
                };
                return self.note(kind, at);
            }
            if worker::is_http_host(assign.target) {
                let usable = match &bare(assign.value).kind {
                    ExprKind::Name(name) => {
                        global_name(name, self.view) == Some("DOMAIN_CURRENT_SITE")
                    }
                    _ => self.reader().value(assign.value).truthy() == Some(true),
                };
                // `??=` is like an assignment with `if ( ! isset )` around it.
                let plain = plain || (assign.op == AssignOp::Coalesce && !assign.by_ref);
                let worker = if plain { self.worker } else { Truth::Unknown };
                return self.note(Kind::Host { worker, usable }, at);
            }
        }
        let _ = self.visit_expr(assign.target);
    }

    /// The list, or our own `empty( $gearman_servers ) ? list : $gearman_servers`.
    fn servers(&self, value: &Expr<'_, '_>, global: bool) -> Kind {
        let mut list = bare(value);
        let mut yields = false;
        if let ExprKind::Ternary(ternary) = &list.kind
            && let ExprKind::Empty(what) = &ternary.condition.kind
            && let Some(then) = ternary.then_expr
            && servers_target(what).is_some()
            && servers_target(ternary.else_expr).is_some()
        {
            list = then;
            yields = true;
        }
        // `$GLOBALS['gearman_servers'] = $gearman_servers;` only makes it global.
        if global && servers_target(list) == Some(false) {
            return Kind::Global;
        }
        Kind::Servers {
            value: self.reader().value(list),
            value_at: span(list),
            global,
            yields,
        }
    }

    fn include(&mut self, path: &Expr<'_, '_>, at: usize) {
        let loads = names_settings(path)
            || matches!(&bare(path).kind, ExprKind::Variable(name)
                if self.settings_variables.contains(name.as_str()));
        let _ = self.visit_expr(path);
        if loads {
            return self.note(Kind::Load, at);
        }
        let path = self.reader().path(path);
        let place = self.place.clone();
        if path.is_some() && self.place.if_file == path {
            self.place.if_file = None;
        }
        self.note(Kind::Include(path), at);
        self.place = place;
    }
}

enum Condition {
    Unless(String),
    IfFile(String),
    Always,
    Other,
}

impl Condition {
    fn enter(self, place: &mut Place) {
        match self {
            Condition::Unless(name) => place.unless.push(name),
            Condition::Always => {}
            Condition::IfFile(path) if place.if_file.is_none() => place.if_file = Some(path),
            _ => place.branch = true,
        }
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
                if let StmtKind::Foreach(each) = &stmt.kind
                    && (servers_target(&each.value).is_some()
                        || each
                            .key
                            .as_ref()
                            .is_some_and(|it| servers_target(it).is_some()))
                {
                    self.note(Kind::Touched, at);
                }
                self.in_branch(Truth::Unknown, |walker| {
                    let _ = walk_stmt(walker, stmt);
                });
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
            StmtKind::Global(variables) => {
                if variables.iter().any(|it| servers_target(it).is_some()) {
                    self.note(Kind::Global, at);
                }
            }
            StmtKind::Return(_) | StmtKind::Throw(_) => {
                let _ = walk_stmt(self, stmt);
                let worker = self.worker;
                self.note(Kind::Exit { worker }, at);
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
            ExprKind::Assign(assign) => self.assign(assign, expr),
            ExprKind::Include(_, path) => self.include(path, at),
            ExprKind::Eval(code) => {
                let _ = self.visit_expr(code);
                self.note(Kind::Opaque(Opaque::Eval), at);
            }
            ExprKind::Exit(_) | ExprKind::Throw(_) => {
                let _ = walk_expr(self, expr);
                let worker = self.worker;
                self.note(Kind::Exit { worker }, at);
            }
            ExprKind::Closure(_) | ExprKind::ArrowFunction(_) | ExprKind::AnonymousClass(_) => self
                .in_function(|walker| {
                    let _ = walk_expr(walker, expr);
                }),
            ExprKind::Binary(binary) if short_circuits(binary.op) => {
                let _ = self.visit_expr(binary.left);
                let truth = worker::truth(binary.left, self.view);
                let or = matches!(binary.op, BinaryOp::BooleanOr | BinaryOp::LogicalOr);
                let unless = match or {
                    true => defined(binary.left, self.view),
                    false => match self.condition(binary.left) {
                        Condition::Unless(name) => Some(name),
                        _ => None,
                    },
                };
                self.within(
                    |place| match unless {
                        Some(name) => place.unless.push(name),
                        None => place.branch = true,
                    },
                    if or { truth.not() } else { truth },
                    |walker| {
                        let _ = walker.visit_expr(binary.right);
                    },
                );
            }
            ExprKind::Ternary(ternary) => {
                let _ = self.visit_expr(ternary.condition);
                self.in_branch(Truth::Unknown, |walker| {
                    if let Some(then) = ternary.then_expr {
                        let _ = walker.visit_expr(then);
                    }
                    let _ = walker.visit_expr(ternary.else_expr);
                });
            }
            ExprKind::NullCoalesce(either) => {
                let _ = self.visit_expr(either.left);
                self.in_branch(Truth::Unknown, |walker| {
                    let _ = walker.visit_expr(either.right);
                });
            }
            ExprKind::Match(_) => self.in_branch(Truth::Unknown, |walker| {
                let _ = walk_expr(walker, expr);
            }),
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
                    self.note(Kind::Folder { name, folder: None }, at);
                } else if text == "/etc/wordpress/config-"
                    || text.ends_with("config/application.php")
                {
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
