//! What a run holds in memory.

use std::path::Path;

use crate::measured::{self, Run};
use crate::root::{Root, SITE};

/// The program is by far the largest file that setup writes and remove takes away.
#[test]
fn the_program_is_not_held_in_memory_to_be_removed() {
    let program = Path::new(env!("CARGO_BIN_EXE_wp-gears"));
    let root = Root::new();
    let run = |words: &[&str]| -> Run {
        let run = measured::run(program, words, root.path());
        assert_eq!(run.code, 0, "{}", run.text);
        run
    };
    let setup = ["setup", "--yes", "--site", SITE];
    run(&setup);
    let again = run(&setup).kb;
    let remove = run(&["remove", "--yes"]).kb;
    assert!(!root.at("/usr/local/lib/wp-gears/wp-gears").exists());
    let size = program.metadata().unwrap().len() >> 10;
    assert!(
        remove < again + size / 2,
        "{remove} kB, {again} kB where nothing changes, the program has {size} kB"
    );
}
