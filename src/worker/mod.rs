//! What supervisor runs: takes jobs from Gearman and hands each to PHP.
