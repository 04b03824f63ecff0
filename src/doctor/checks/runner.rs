//! The runner in the WordPress root: a link to ours that refuses web requests.

use crate::base::paths;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::files::Node;
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;
use crate::site::page::RunnerAnswer;

pub const CHECK: Check = Check {
    name: "runner",
    describes: "the link to the runner in the WordPress root, and its answer over HTTP",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let name = site.plugin.runner;
        let path = site.dir.join(name);
        let by = ResourceId::Link(path.clone());
        let help = format!(
            "run 'ln -sfn {} {}'",
            paths::runner().display(),
            path.display()
        );
        match context.host.look(&path) {
            Ok(Node::Link { to, .. }) if to == paths::runner() => {}
            Ok(Node::Absent) => {
                let message = format!("{} is missing", path.display());
                return vec![Finding::failed(message, help).fixed_by(by)];
            }
            Ok(Node::Link { to, .. }) => {
                let message = format!("{} points to {}", path.display(), to.display());
                return vec![Finding::failed(message, help).fixed_by(by)];
            }
            Ok(_) => {
                let message = format!(
                    "{} is a copy, not a link, so it cannot find its code",
                    path.display()
                );
                return vec![Finding::failed(message, help).fixed_by(by)];
            }
            Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
        }
        vec![over_http(context, site, name)]
    })
}

/// What visitors get who request the runner from this host's own web servers. If one
/// could run it, anyone could run jobs.
fn over_http(context: &Context, site: &SiteResolved, name: &str) -> Finding {
    let Ok(facts) = context.facts(site) else {
        return Finding::ok("the link is correct; the site's address is unknown (see 'wordpress')");
    };
    match &facts.runner {
        Some(answer) => of_answer(answer, name),
        None => Finding::ok("the link is correct; it was not requested over HTTP"),
    }
}

fn of_answer(answer: &RunnerAnswer, name: &str) -> Finding {
    const LINKED: &str = "the link is correct";
    if let Some(why) = &answer.unreachable {
        return Finding::ok(format!("{LINKED}; not checked over HTTP ({why})"));
    }
    let (url, status) = (&answer.url, answer.status);
    let open = |what: String| {
        let help = format!("make the web server run {name} as PHP, or refuse requests for it");
        Finding::failed(format!("{url} {what}"), help)
    };
    match status {
        _ if answer.hangs => open("does not answer: the runner may wait for jobs".into()),
        200..=299 if answer.everything => Finding::ok(format!(
            "{LINKED}; the web server answers {status} for any name, so nothing is known of the runner"
        )),
        200..=299 => open(format!("answers {status} instead of 403")),
        // Redirects, such as those to a login, run nothing. Neither does a server
        // that asks for a password, or one that does not know the file.
        300..=499 => Finding::ok(format!("{LINKED}, and {url} answers {status}")),
        _ => Finding::skipped(format!(
            "{LINKED}, but {url} answers {status}: whether it is closed to visitors is not known"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn the_runner_is_open_if_it_answers_or_hangs() {
        let of = |status, hangs, everything| {
            let answer = RunnerAnswer {
                url: "http://a.test/wp-gears-runner.php".into(),
                status,
                hangs,
                everything,
                unreachable: None,
            };
            of_answer(&answer, "wp-gears-runner.php").status
        };
        for status in [301, 302, 307, 308, 401, 403, 404, 405, 410] {
            assert_eq!(of(status, false, false), Status::Ok, "{status}");
        }
        assert_eq!(of(200, false, false), Status::Failed);
        assert_eq!(of(200, false, true), Status::Ok);
        assert_eq!(of(0, true, false), Status::Failed);
        assert_eq!(of(200, true, false), Status::Failed);
        assert_eq!(of(502, false, false), Status::Skipped);
        let no_server = RunnerAnswer {
            unreachable: Some("no web server".into()),
            ..RunnerAnswer::default()
        };
        assert_eq!(of_answer(&no_server, "x").status, Status::Ok);
    }
}
