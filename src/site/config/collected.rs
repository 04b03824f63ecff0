//! The settings class of Roots, with which Bedrock defines constants: `Config::define`
//! collects them, the last one of a name wins, and `Config::apply` defines them all.

use crate::site::config::events::{Kind, Opaque, is_watched, of_network, resembles_watched};
use crate::site::config::folders::{self, collected_key, is_folder};
use crate::site::config::reader::Reader;
use crate::site::config::truth::Truth;
use crate::site::config::value::{Value, span};
use crate::site::config::walk::Walker;
use php_ast::visitor::{Visitor, walk_expr};
use php_ast::{ArgKind, Expr, ExprKind, NameKind, StaticMethodCallExpr, UseDecl};

const CLASS: &str = "roots\\wpconfig\\config";

impl Reader<'_> {
    /// The name of the class in a call of one of its methods, and that method in
    /// lowercase.
    fn collector(&self, call: &StaticMethodCallExpr<'_, '_>) -> Option<(String, String)> {
        let ExprKind::Name(class) = &call.class.kind else {
            return None;
        };
        let text = class.src_repr(self.view);
        let is_class = match class.kind() {
            NameKind::Unqualified => self.state.collectors.contains(&text.to_ascii_lowercase()),
            NameKind::FullyQualified => text[1..].eq_ignore_ascii_case(CLASS),
            _ => false,
        };
        let method = match &call.method.kind {
            ExprKind::Name(name) => name.src_repr(self.view),
            ExprKind::Identifier(name) => name.as_str(),
            _ => return None,
        };
        is_class.then(|| (text.to_owned(), method.to_ascii_lowercase()))
    }

    /// The name in `Config::get( 'NAME' )`.
    pub fn collected_name(&self, call: &StaticMethodCallExpr<'_, '_>) -> Option<String> {
        let (_, method) = self.collector(call)?;
        let name = self.value(argument(call, 0)?).text()?;
        (method == "get").then_some(name)
    }

    /// The value of `Config::get( 'NAME' )`.
    pub fn collected(&self, call: &StaticMethodCallExpr<'_, '_>) -> Option<Value> {
        let (value, of_worker) = self.state.collected.get(&self.collected_name(call)?)?;
        Some(if self.as_worker { of_worker } else { value }.clone())
    }
}

fn argument<'c, 'a, 's>(
    call: &'c StaticMethodCallExpr<'a, 's>,
    at: usize,
) -> Option<&'c Expr<'a, 's>> {
    match &call.args.get(at)?.kind {
        ArgKind::Value(value) => Some(value),
        _ => None,
    }
}

impl Walker<'_> {
    /// The names that a `use` statement gives the class.
    pub fn import(&mut self, names: &UseDecl<'_, '_>) {
        for it in names.uses.iter() {
            let name = it.name.src_repr(self.view).trim_start_matches('\\');
            if !name.eq_ignore_ascii_case(CLASS) {
                continue;
            }
            let alias = it.alias.as_ref().and_then(|alias| alias.as_str());
            let short = alias.unwrap_or("config").to_ascii_lowercase();
            self.state.collectors.insert(short);
        }
    }

    pub fn static_call(&mut self, call: &StaticMethodCallExpr<'_, '_>, expr: &Expr<'_, '_>) {
        let at = expr.span.start as usize;
        let found = self.reader().collector(call);
        let Some((class, method)) = found else {
            let _ = walk_expr(self, expr);
            return;
        };
        match method.as_str() {
            "define" => {
                self.seen.collector.get_or_insert(class);
                let (Some(name), Some(value)) = (argument(call, 0), argument(call, 1)) else {
                    return self.note(Kind::Opaque(Opaque::ComputedDefinition), at);
                };
                match self.reader().value(name) {
                    Value::Text(name) => self.collect(name, value, at),
                    _ => self.note(Kind::Opaque(Opaque::ComputedConstant), at),
                }
                let _ = self.visit_expr(value);
            }
            "apply" => {
                self.seen.collector = Some(class);
                self.note(Kind::Apply, at);
                if self.place.sure() {
                    for (name, (value, of_worker)) in std::mem::take(&mut self.state.collected) {
                        self.state
                            .of_worker
                            .entry(name.clone())
                            .or_insert(of_worker);
                        if let Some(folder) = self.folders.get(&collected_key(&name)).cloned() {
                            self.folders.entry(name.clone()).or_insert(folder);
                        }
                        self.state.known.entry(name).or_insert(value);
                    }
                }
            }
            "remove" => {
                let name = argument(call, 0).and_then(|name| self.reader().value(name).text());
                if let Some(name) = name {
                    self.state.collected.remove(&name);
                    if is_watched(&name) {
                        let kind = Kind::Define {
                            name,
                            value: Value::computed(Truth::No),
                            value_at: span(expr),
                            collected: true,
                        };
                        self.note(kind, at);
                    }
                }
            }
            _ => {}
        }
    }

    fn collect(&mut self, name: String, value: &Expr<'_, '_>, at: usize) {
        let value_at = span(value);
        let of_worker = self.as_worker().value(value);
        let folder = folders::folder(value, &self.reader(), &self.folders);
        let value = self.reader().value(value);
        if is_folder(&name) {
            let kind = Kind::Folder {
                name: name.clone(),
                folder: folder.clone(),
                collected: true,
            };
            self.note(kind, at);
        }
        if self.is_for_some_hosts() {
            self.state.host_constants.insert(name.clone());
        }
        let key = collected_key(&name);
        self.folders.remove(&key);
        match self.place.sure() {
            true => {
                let both = (value.clone(), of_worker.clone());
                self.state.collected.insert(name.clone(), both);
                if let Some(folder) = folder {
                    self.folders.insert(key, folder);
                }
            }
            false => drop(self.state.collected.remove(&name)),
        }
        if resembles_watched(&name) {
            let value = match of_network(&name) {
                true => of_worker,
                false => value,
            };
            let kind = Kind::Define {
                name,
                value,
                value_at,
                collected: true,
            };
            self.note(kind, at);
        }
    }
}
