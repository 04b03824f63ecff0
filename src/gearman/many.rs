//! Asks many job servers at the same time. A site names its own, and one that accepts
//! connections and never answers must not delay what is said about the others.

use std::time::{Duration, Instant};

use crate::base::parallel;

/// How many are asked at a time.
const THREADS: usize = 32;
/// How long all of them together may take.
const LIMIT: Duration = Duration::from_secs(6);

/// What `ask` returns for each server, in their order.
pub fn each<S: Sync, R: Send>(
    servers: &[S],
    ask: impl Fn(&S) -> Result<R, String> + Sync,
) -> Vec<Result<R, String>> {
    let end = Instant::now() + LIMIT;
    parallel::map(servers, THREADS, |server| match Instant::now() < end {
        true => ask(server),
        false => Err("it was not asked, because other job servers took too long".into()),
    })
}

/// The servers of all sites, each once: the first of every site, then the second, so that
/// no site's list keeps the others' waiting.
pub fn in_turn(lists: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let lists: Vec<Vec<String>> = lists.into_iter().collect();
    let longest = lists.iter().map(Vec::len).max().unwrap_or_default();
    let mut all = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for at in 0..longest {
        for server in lists.iter().filter_map(|list| list.get(at)) {
            if seen.insert(server) {
                all.push(server.clone());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sites_first_server_comes_before_any_second() {
        let list = |names: &str| names.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let all = in_turn([list("a b c d"), list("e"), list("a f")]);
        assert_eq!(all, ["a", "e", "b", "f", "c", "d"]);
    }

    #[test]
    fn servers_that_never_answer_take_their_limit_once() {
        let begun = Instant::now();
        let servers: Vec<u32> = (0..500).collect();
        let answers = each(&servers, |n| {
            std::thread::sleep(Duration::from_secs(u64::from(*n != 0) * 2));
            if *n == 0 {
                Ok(())
            } else {
                Err("silent".into())
            }
        });
        assert!(answers[0].is_ok());
        assert!(begun.elapsed() < LIMIT + Duration::from_secs(3));
    }
}
