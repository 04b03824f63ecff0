//! What calls and assignments mean: definitions of constants, the list of servers,
//! the host name, included files, and the variables that these use.

use crate::site::config::events::{Kind, Opaque, is_watched, of_network, resembles_watched};
use crate::site::config::folders::{self, is_folder};
use crate::site::config::guards::SERVERS;
use crate::site::config::shapes::{self, names_settings, servers_target};
use crate::site::config::truth::Truth;
use crate::site::config::value::{
    Value, bare, chain, function_name, global_name, is_http_host, span,
};
use crate::site::config::walk::Walker;
use crate::site::plugins::constants;
use php_ast::visitor::{Visitor, walk_expr};
use php_ast::{ArgKind, ArrayElement, AssignOp, Expr, ExprKind, ForeachStmt};

impl Walker<'_> {
    pub fn define(&mut self, name: String, value: &Expr<'_, '_>, at: usize) {
        let value_at = span(value);
        let of_worker = self.as_worker().value(value);
        let folder = folders::folder(value, &self.reader(), &self.folders);
        let value = self.reader().value(value);
        if is_folder(&name) {
            let (name, folder) = (name.clone(), folder.clone());
            let kind = Kind::Folder {
                name,
                folder,
                collected: false,
            };
            self.note(kind, at);
        }
        // Behind a guard it is known only if nothing unseen came first.
        let unseen = |kind: &Kind| matches!(kind, Kind::Include(_) | Kind::Opaque(_));
        let guarded = self.place.unless == [name.clone()]
            && !self.place.branch
            && !self.seen.events.iter().any(|event| unseen(&event.kind));
        if self.is_for_some_hosts() {
            self.state.host_constants.insert(name.clone());
        } else if self.place.sure() || guarded {
            self.state
                .known
                .entry(name.clone())
                .or_insert_with(|| value.clone());
            self.state
                .of_worker
                .entry(name.clone())
                .or_insert_with(|| of_worker.clone());
            if let Some(folder) = folder {
                self.folders.entry(name.clone()).or_insert(folder);
            }
        }
        if resembles_watched(&name) {
            let value = match of_network(&name) {
                true => of_worker,
                false => value,
            };
            self.note(
                Kind::Define {
                    name,
                    value,
                    value_at,
                    collected: false,
                },
                at,
            );
        }
    }

    pub fn call(&mut self, call: &php_ast::FunctionCallExpr<'_, '_>, expr: &Expr<'_, '_>) {
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
                            collected: false,
                        },
                        at,
                    ),
                    _ => self.note(Kind::Opaque(Opaque::ComputedConstant), at),
                }
                let _ = self.visit_expr(value);
            }
            Some("defined" | "constant" | "file_exists") => {}
            Some("extract" | "parse_str") => {
                self.forget_variables();
                self.note(Kind::Opaque(Opaque::Extract), at);
                let _ = walk_expr(self, expr);
            }
            name => {
                if name.is_some_and(|name| self.loading_functions.contains(name))
                    && !self.place.function
                {
                    self.note(Kind::Load, at);
                }
                if !name.is_some_and(only_reads) {
                    self.pass_variables(call, expr);
                }
                let _ = walk_expr(self, expr);
            }
        }
    }

    /// A call may change the variables that it is given.
    fn pass_variables(&mut self, call: &php_ast::FunctionCallExpr<'_, '_>, expr: &Expr<'_, '_>) {
        let from_host = self.as_worker().depends_on_host(expr);
        for arg in call.args.iter() {
            let Some(ExprKind::Variable(name)) = arg.value().map(|it| &bare(it).kind) else {
                continue;
            };
            self.state.plain.remove(name.as_str());
            self.state.paths.remove(name.as_str());
            let from_host = match (self.state.variables.get(name.as_str()), from_host) {
                (None, Truth::No) => continue,
                (_, Truth::No) => Truth::No,
                (known, _) => known.map_or(Truth::Unknown, Value::lacks_host),
            };
            let value = Value::computed(from_host);
            self.state.variables.insert(name.as_str().to_owned(), value);
        }
    }

    /// After code that may change any variable.
    pub fn forget_variables(&mut self) {
        self.state.plain.clear();
        self.state.paths.clear();
        for value in self.state.variables.values_mut() {
            *value = Value::computed(value.lacks_host());
        }
    }

    /// Records that a variable is assigned.
    fn set_variable(&mut self, name: &str, value: Value) {
        self.state.plain.remove(name);
        self.state.paths.remove(name);
        if self.place.function || self.worker == Truth::No {
            return;
        }
        let value = match (self.worker, self.state.variables.get(name)) {
            (Truth::Yes, _) => value,
            (_, Some(old)) => value.or(old.clone()),
            // Undefined before, so it is this value or none.
            (_, None) => Value::computed(value.lacks_host()),
        };
        self.state.variables.insert(name.to_owned(), value);
    }

    pub fn each(&mut self, each: &ForeachStmt<'_, '_>, at: usize) {
        let targets = || std::iter::once(&each.value).chain(each.key.as_ref());
        if targets().any(|it| servers_target(it).is_some()) {
            self.note(Kind::Touched, at);
        }
        let value = Value::computed(self.as_worker().depends_on_host(&each.expr));
        for target in targets() {
            self.set_variables_in(target, &value);
        }
    }

    fn set_variables_in(&mut self, target: &Expr<'_, '_>, value: &Value) {
        let mut names = Vec::new();
        crate::site::config::value::walk(target, &mut |inner| {
            if let ExprKind::Variable(name) = &inner.kind {
                names.push(name.as_str().to_owned());
            }
        });
        for name in names {
            self.set_variable(&name, Value::computed(value.lacks_host()));
        }
    }

    /// An element of an array.
    pub fn entry(&mut self, element: &ArrayElement<'_, '_>) {
        let ours = element.key.as_ref().and_then(|key| match &bare(key).kind {
            ExprKind::String(text) => of_us(text.as_bytes()),
            _ => None,
        });
        let expr = element.value();
        match (ours, &element.key) {
            (Some(name), _) => {
                let (name, value) = (name.to_owned(), self.reader().value(expr));
                self.note(Kind::Entry { name, value }, element.span.start as usize);
            }
            (None, Some(key)) => {
                let _ = self.visit_expr(key);
            }
            (None, None) => {}
        }
        let _ = self.visit_expr(expr);
    }

    pub fn assign(&mut self, assign: &php_ast::AssignExpr<'_, '_>, expr: &Expr<'_, '_>) {
        let at = expr.span.start as usize;
        let plain = assign.op == AssignOp::Assign && !assign.by_ref;
        let coalesces = assign.op == AssignOp::Coalesce && !assign.by_ref;
        let target = servers_target(assign.target);
        let kind = match target {
            Some(global) if plain => self.servers(assign.value, global),
            Some(global) if coalesces => Kind::Servers {
                value: self.reader().value(assign.value),
                value_at: span(assign.value),
                global,
                yields: true,
            },
            _ => Kind::Touched,
        };
        // A list may contain calls; the other two shapes only read the variable.
        if !matches!(kind, Kind::Global | Kind::Servers { yields: true, .. }) {
            let _ = self.visit_expr(assign.value);
        }
        if target.is_some() {
            return self.note(kind, at);
        }
        match &assign.target.kind {
            ExprKind::Variable(name) => {
                let name = name.as_str().to_owned();
                let folder = folders::folder(assign.value, &self.reader(), &self.folders);
                match folder.filter(|_| plain && self.place.sure()) {
                    Some(folder) => drop(self.folders.insert(format!("${name}"), folder)),
                    None => drop(self.folders.remove(&format!("${name}"))),
                }
                if self.reader().mentions_host(assign.value) {
                    self.state.host_variables.insert(name.clone());
                }
                let reader = self.as_worker();
                let value = match plain {
                    true => reader.value(assign.value),
                    false => Value::computed(reader.depends_on_host(assign.value)),
                };
                let value = match (plain, self.state.variables.get(&name)) {
                    (false, Some(old)) => value.or(old.clone()),
                    _ => value,
                };
                let same = match plain && self.place.sure() {
                    true => self.reader().value(assign.value),
                    false => Value::computed(Truth::No),
                };
                self.set_variable(&name, value);
                let scalar = matches!(
                    same.by_default(),
                    Value::Text(_) | Value::Int(_) | Value::Bool(_) | Value::Null
                );
                if scalar {
                    self.state.plain.insert(name.clone(), same);
                }
                let path = self.reader().path(assign.value);
                if let Some(path) = path.filter(|_| plain && self.place.sure()) {
                    if let Some(top) = self.seen.tops.last_mut() {
                        top.path = true;
                    }
                    self.state.paths.insert(name.clone(), path);
                }
                if names_settings(assign.value) {
                    self.settings_variables.insert(name);
                }
            }
            ExprKind::Array(_) => {
                let value = Value::computed(self.as_worker().depends_on_host(assign.value));
                self.set_variables_in(assign.target, &value);
            }
            ExprKind::ArrayAccess(access) => {
                if let Some(global) = servers_target(access.array) {
                    let kind = match (plain, access.index) {
                        (true, None) => Kind::Push(self.reader().value(assign.value), global),
                        _ => Kind::Touched,
                    };
                    return self.note(kind, at);
                }
                if is_http_host(assign.target) {
                    // `??=` is like an assignment with `if ( ! isset )` around it.
                    return self.host(assign.value, plain || coalesces, at);
                }
                if let ExprKind::Variable(name) = &access.array.kind {
                    let value = Value::computed(self.as_worker().depends_on_host(assign.value));
                    let name = name.as_str().to_owned();
                    self.set_variable(&name, value);
                }
            }
            _ => {}
        }
        let _ = self.visit_expr(assign.target);
    }

    /// `$_SERVER['HTTP_HOST'] = …`
    fn host(&mut self, value: &Expr<'_, '_>, plain: bool, at: usize) {
        let of_network = matches!(&bare(value).kind,
            ExprKind::Name(name) if global_name(name, self.view) == Some("DOMAIN_CURRENT_SITE"));
        let by_host = self.is_by_host() || self.reader().mentions_host(value);
        let value = self.as_worker().value(value);
        let usable = of_network || value.by_default().truthy() == Some(true);
        let worker = if plain { self.worker } else { Truth::Unknown };
        if !self.place.function {
            self.state.host = match worker {
                Truth::Yes => Some(value.clone()),
                Truth::No => self.state.host.take(),
                Truth::Unknown => Some(Value::computed(Truth::Unknown)),
            };
        }
        let name = match (of_network, value.by_default()) {
            (false, Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        self.note(
            Kind::Host {
                worker,
                usable,
                name,
                by_host,
            },
            at,
        )
    }

    /// The list, also behind one of the usual tests whether there is one already.
    fn servers(&self, value: &Expr<'_, '_>, global: bool) -> Kind {
        let mut list = bare(value);
        let mut yields = false;
        match &list.kind {
            ExprKind::Ternary(ternary) => {
                use crate::site::config::guards::Guard;
                let other = bare(ternary.else_expr);
                match (self.reader().guard(ternary.condition), ternary.then_expr) {
                    (Guard::Unless(name), Some(then))
                        if name == SERVERS && servers_target(other).is_some() =>
                    {
                        (list, yields) = (bare(then), true);
                    }
                    (Guard::If(name), then)
                        if name == SERVERS
                            && then.is_none_or(|it| servers_target(it).is_some()) =>
                    {
                        (list, yields) = (other, true);
                    }
                    _ => {}
                }
            }
            ExprKind::NullCoalesce(either) if servers_target(either.left).is_some() => {
                (list, yields) = (bare(either.right), true);
            }
            _ => {}
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

    pub fn include(&mut self, path: &Expr<'_, '_>, at: usize) {
        let loads = shapes::names_settings(path)
            || chain(bare(path)).last().is_some_and(|last| {
                matches!(&bare(last).kind, ExprKind::Variable(name)
                    if self.settings_variables.contains(name.as_str()))
            });
        let _ = self.visit_expr(path);
        if loads {
            return self.note(Kind::Load, at);
        }
        let path = self.reader().path(path);
        self.forget_variables();
        let place = self.place.clone();
        if path.is_some() && self.place.if_file == path {
            self.place.if_file = None;
        }
        self.note(Kind::Include(path), at);
        self.place = place;
    }
}

/// Whether a function of PHP is known to leave its arguments alone.
fn only_reads(function: &str) -> bool {
    const ONLY_READ: [&str; 24] = [
        "strpos",
        "stripos",
        "strrpos",
        "strstr",
        "stristr",
        "strtolower",
        "strtoupper",
        "strlen",
        "strcmp",
        "strcasecmp",
        "strtr",
        "str_contains",
        "str_starts_with",
        "str_ends_with",
        "in_array",
        "array_key_exists",
        "trim",
        "rtrim",
        "explode",
        "implode",
        "substr",
        "parse_url",
        "file_exists",
        "is_file",
    ];
    ONLY_READ.contains(&function)
}

/// The constant of ours with this name.
fn of_us(name: &[u8]) -> Option<&'static str> {
    constants().iter().copied().find(|it| it.as_bytes() == name)
}
