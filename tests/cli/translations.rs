//! The texts that administrators see in WordPress can be translated: each is a literal, and
//! `templates/admin/wp-gears.pot` has all of them.

use std::path::Path;
use std::process::Command;

use super::common::needs::installed;
use super::held::held;

/// Prints a template for translators of the texts in the files that are its arguments.
const EXTRACT: &str = r##"
$kinds = ['__' => 1, 'esc_html__' => 1, 'esc_attr__' => 1, '_n' => 2];
$found = [];
foreach (array_slice($argv, 1) as $file) {
    $note = '';
    $tokens = array_values(array_filter(token_get_all(file_get_contents($file)), function ($token) {
        return !is_array($token) || $token[0] !== T_WHITESPACE;
    }));
    foreach ($tokens as $i => $token) {
        if (is_array($token) && $token[0] === T_COMMENT && strpos($token[1], 'translators:')) $note = trim($token[1], '/* ');
        if ($token === ';') $note = '';
        $texts = is_array($token) && $token[0] === T_STRING ? $kinds[$token[1]] ?? 0 : 0;
        if (!$texts || $tokens[$i + 1] !== '(' || in_array($tokens[$i - 1][0] ?? '', [T_FUNCTION, T_OBJECT_OPERATOR], true)) continue;
        $words = [];
        for ($j = $i + 2, $depth = 0; $depth >= 0; $j++) {
            $part = $tokens[$j];
            $depth += in_array($part, ['(', '['], true) ? 1 : (in_array($part, [')', ']'], true) ? -1 : 0);
            if (0 === $depth && is_array($part) && $part[0] === T_CONSTANT_ENCAPSED_STRING) $words[] = eval("return $part[1];");
        }
        if (count($words) !== $texts + 1 || end($words) !== 'wp-gears') exit(basename($file) . ":$token[2]: not all of it is literal\n");
        if (strpos($words[0], '%') !== false && $note === '') exit(basename($file) . ":$token[2]: nothing says what % is\n");
        $text = $found[$words[0]] ?? ['notes' => [], 'many' => null];
        if ($note !== '') $text['notes'][$note] = true;
        if (2 === $texts) $text['many'] = $words[1];
        $found[$words[0]] = $text;
    }
}
ksort($found);
$quoted = function ($text) { return '"' . addcslashes($text, "\"\\") . '"'; };
echo "msgid \"\"\nmsgstr \"\"\n\"Content-Type: text/plain; charset=UTF-8\\n\"\n\"Content-Transfer-Encoding: 8bit\\n\"\n\"X-Domain: wp-gears\\n\"\n";
foreach ($found as $one => $text) {
    echo "\n";
    foreach (array_keys($text['notes']) as $note) echo "#. $note\n";
    if (strpos($one, '%') !== false) echo "#, php-format\n";
    echo 'msgid ', $quoted($one), "\n";
    echo null === $text['many'] ? "msgstr \"\"\n" : 'msgid_plural ' . $quoted($text['many']) . "\nmsgstr[0] \"\"\nmsgstr[1] \"\"\n";
}
"##;

#[test]
fn held_are_all_texts_for_translators() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/admin");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    files.sort_by_key(std::fs::DirEntry::file_name);
    let files = files.into_iter().map(|entry| entry.path());
    let files = files.filter(|path| path.extension().is_some_and(|it| it == "php"));
    let started = Command::new("php")
        .args(["-r", EXTRACT, "--"])
        .args(files)
        .output();
    let text = String::from_utf8(installed("php-cli", started).stdout).unwrap();
    assert!(text.matches("\nmsgid ").count() > 60, "{text}");
    held("templates/admin/wp-gears.pot", text);
}
