//! Not a test: draws the run in the README from a real one.
//! `tests/run record`

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use vt100::Color;

use crate::common::terminal::Terminal;
use crate::support::fresh_host;

const PATIENCE: Duration = Duration::from_secs(120);
const COLUMNS: u16 = 90;
/// The whole run fits on one screen.
const LINES: u16 = 160;

#[test]
#[ignore = "writes fixtures/run.svg"]
fn record() {
    let host = fresh_host("record");
    let mut command = host.command(&["wp-gears", "setup"]);
    command.env("TERM", "xterm-256color");
    let mut terminal = Terminal::run(command, COLUMNS, LINES);
    terminal.patience = PATIENCE;
    for (question, answer) in [
        ("Which sites?", "\r"),
        ("How many workers?", "\r"),
        ("Where should queued jobs", "\r"),
        ("Is this right?", "\r"),
        ("Apply these changes?", "y"),
    ] {
        terminal.wait_for(question);
        terminal.keys(answer);
    }
    terminal.wait_for("setup --yes'.");
    let cells = cells(terminal.pty.parser().screen());
    assert_eq!(terminal.ends().code(), Some(0));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/run.svg");
    std::fs::write(&file, svg(&cells)).unwrap();
    println!("{}", file.display());
}

/// One cell of the screen.
#[derive(Clone, Default)]
struct Cell {
    text: String,
    color: Color,
    bold: bool,
    dim: bool,
}

fn cells(screen: &vt100::Screen) -> Vec<Vec<Cell>> {
    let (lines, columns) = screen.size();
    let cell = |line, column| {
        let cell = screen.cell(line, column);
        let text = cell.map(|it| it.contents()).filter(|text| !text.is_empty());
        Cell {
            text: text.unwrap_or(" ").to_owned(),
            color: cell.map(|it| it.fgcolor()).unwrap_or_default(),
            bold: cell.is_some_and(|it| it.bold()),
            dim: cell.is_some_and(|it| it.dim()),
        }
    };
    let line = |line| {
        (0..columns.get())
            .map(|column| cell(line, column))
            .collect()
    };
    (0..lines.get()).map(line).collect()
}

const WIDTH: f32 = 8.0;
const HEIGHT: f32 = 17.0;
const MARGIN: f32 = 14.0;

fn svg(cells: &[Vec<Cell>]) -> String {
    let is_blank = |line: &&Vec<Cell>| line.iter().all(|cell| cell.text.trim().is_empty());
    let blank_at_the_end = cells.iter().rev().take_while(is_blank).count();
    let lines = &cells[..cells.len() - blank_at_the_end];
    let prompt = "# wp-gears setup".chars().map(|c| Cell {
        text: c.into(),
        bold: true,
        ..Cell::default()
    });
    let lines = [&[prompt.collect()], lines].concat();
    let (width, height) = (
        f32::from(COLUMNS) * WIDTH + 2.0 * MARGIN,
        lines.len() as f32 * HEIGHT + 2.0 * MARGIN,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1c2128\"/>\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let y = MARGIN + (row as f32 + 0.75) * HEIGHT;
        for (column, run) in runs(line) {
            let text: String = run.iter().map(|cell| cell.text.as_str()).collect();
            if text.trim().is_empty() {
                continue;
            }
            let x = MARGIN + column as f32 * WIDTH;
            let length = run.len() as f32 * WIDTH;
            let weight = if run[0].bold {
                " font-weight=\"bold\""
            } else {
                ""
            };
            writeln!(
                svg,
                "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" fill=\"{}\"{weight} xml:space=\"preserve\">{}</text>",
                colour(&run[0]),
                escaped(&text)
            )
            .unwrap();
        }
    }
    svg + "</svg>\n"
}

/// Splits a line into runs of cells with the same style, each with its column.
fn runs(line: &[Cell]) -> Vec<(usize, &[Cell])> {
    let mut column = 0;
    let alike = |a: &Cell, b: &Cell| (a.color, a.bold, a.dim) == (b.color, b.bold, b.dim);
    line.chunk_by(alike)
        .map(|run| {
            let at = column;
            column += run.len();
            (at, run)
        })
        .collect()
}

fn colour(cell: &Cell) -> &'static str {
    match cell.color {
        Color::Idx(1 | 9) => "#ff7b72",
        Color::Idx(2 | 10) => "#7ee787",
        Color::Idx(3 | 11) => "#e3b341",
        Color::Idx(4 | 12) => "#79c0ff",
        Color::Idx(5 | 13) => "#d2a8ff",
        Color::Idx(6 | 14) => "#56d4dd",
        _ if cell.dim => "#8b949e",
        _ => "#e6edf3",
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
