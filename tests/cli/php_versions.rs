//! Our PHP uses nothing that PHP 7.1, the oldest that workers run with, does not have.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::needs::installed;

/// Prints what is newer than PHP 7.1 in the files that are its arguments, and where. The
/// names at its end are those that our code could want; many more came with each version.
const PROGRAM: &str = r#"
const NEWER = [T_FN => 'fn', T_MATCH => 'match', T_ENUM => 'enum', T_READONLY => 'readonly', T_ATTRIBUTE => 'attribute',
    T_NULLSAFE_OBJECT_OPERATOR => '?->', T_COALESCE_EQUAL => '??='];
const MODIFIERS = [T_PUBLIC, T_PROTECTED, T_PRIVATE, T_STATIC, T_VAR];
const NAMES = 'JSON_INVALID_UTF8_SUBSTITUTE JSON_INVALID_UTF8_IGNORE JSON_THROW_ON_ERROR PREG_UNMATCHED_AS_NULL
    JsonException WeakMap WeakReference Stringable ValueError FFI
    array_find array_any array_all array_is_list array_key_first array_key_last fdiv fsync fdatasync get_debug_type
    get_mangled_object_vars get_resource_id hrtime is_countable mb_chr mb_ord mb_scrub mb_str_pad mb_str_split mb_trim
    mysqli_execute_query net_get_interfaces pcntl_unshare posix_sysconf posix_pathconf
    preg_last_error_msg spl_object_id str_contains str_ends_with str_starts_with stream_isatty ini_parse_quantity
    sodium_crypto_secretbox sodium_crypto_secretbox_open gc_status json_validate hash_hmac_algos openssl_pkey_derive';

function newer($text) {
    $found = [];
    $tokens = array_values(array_filter(PhpToken::tokenize($text), function ($token) { return !$token->isIgnorable(); }));
    $names = array_flip(array_map('strtolower', preg_split('/\s+/', NAMES)));
    $open = [];
    foreach ($tokens as $i => $token) {
        $add = function ($what) use (&$found, $token) { $found[] = "line $token->line: $what"; };
        $before = $tokens[$i - 1] ?? $token;
        $after  = $tokens[$i + 1] ?? $token;
        if (isset(NEWER[$token->id])) $add(NEWER[$token->id]);
        if ($token->is([T_LNUMBER, T_DNUMBER]) && strpos($token->text, '_')) $add('_ in a number');
        if ($token->is(T_END_HEREDOC) && preg_match('/^\s/', $token->text)) $add('an indented heredoc');
        if ($token->is(T_THROW) && !$before->is([';', '{', '}', ')', ':', T_ELSE, T_OPEN_TAG])) $add('throw as an expression');
        if ($token->is(T_CLASS) && $before->is(T_DOUBLE_COLON) && ($tokens[$i - 2] ?? $before)->is(T_VARIABLE)) $add('::class of an object');
        if ($token->is(T_CATCH)) {
            for ($j = $i; !$tokens[$j]->is(')'); $j++);
            if (!$tokens[$j - 1]->is(T_VARIABLE)) $add('catch without a variable');
        }
        if ($token->is(MODIFIERS) && !$after->is([T_VARIABLE, T_FUNCTION, T_CONST, T_ABSTRACT, T_FINAL, T_DOUBLE_COLON]) && !$after->is(MODIFIERS)) $add('a typed property');
        if ($token->is(['(', '['])) {
            // 'array', 'list', 'function' or what is called.
            $of = $before->is([T_ARRAY, T_LIST]) || $token->is('[') ? 'array' : ($before->is(T_FUNCTION) || $before->is(T_STRING) && ($tokens[$i - 2] ?? $before)->is(T_FUNCTION) || $before->is(T_USE) ? 'function' : 'call');
            $open[] = $of;
        }
        $in = end($open);
        if ($token->is([')', ']'])) {
            if ($before->is(',') && 'array' !== $in) $add('a comma before )');
            array_pop($open);
        }
        if ($token->is(T_ELLIPSIS)) {
            if ('array' === $in) $add('... in an array');
            if ($after->is(')')) $add('f(...)');
        }
        if ('function' === $in && $token->is('|')) $add('a union of types');
        if ('function' === $in && $token->is(MODIFIERS)) $add('a promoted property');
        if ('function' === $in && $token->is(T_STRING) && $after->is(T_VARIABLE) && in_array(strtolower($token->text), ['object', 'mixed'])) $add($token->text);
        if ($token->is(':') && $before->is(')') && $after->is([T_STATIC, T_STRING]) && in_array(strtolower($after->text), ['static', 'mixed', 'never', 'object'])) $add($after->text);
        if ('call' === $in && $token->is(':') && $before->is(T_STRING) && ($tokens[$i - 2] ?? $before)->is(['(', ','])) $add('a named argument');
        if ($token->is(T_STRING) && isset($names[strtolower($token->text)]) && !$before->is([T_OBJECT_OPERATOR, T_DOUBLE_COLON, T_FUNCTION])
            && !preg_match('/(?:defined|exists)\( *\'' . $token->text . '\'/i', $text)) $add($token->text);
    }
    return $found;
}

foreach (array_slice($argv, 1) as $file) {
    foreach (newer(file_get_contents($file)) as $what) echo basename($file), " $what\n";
}
"#;

fn newer(files: &[PathBuf]) -> String {
    let started = Command::new("php")
        .args(["-r", PROGRAM, "--"])
        .args(files)
        .output();
    let output = installed("php-cli", started);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.stderr.is_empty() && output.status.success(),
        "{printed}"
    );
    printed
}

#[test]
fn our_php_is_what_php_7_1_understands() {
    let templates = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
    let mut files = Vec::new();
    for folder in [&templates, &templates.join("admin")] {
        let all = std::fs::read_dir(folder).unwrap();
        let paths = all.map(|entry| entry.unwrap().path());
        files.extend(paths.filter(|path| path.extension().is_some_and(|it| it == "php")));
    }
    assert!(files.len() > 30, "{files:?}");
    assert_eq!(newer(&files), "");
}

#[test]
fn what_is_newer_than_php_7_1_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.php");
    for code in [
        "$f = fn ( $a ) => $a;",
        "echo match ( 1 ) { 1 => 2 };",
        "$a?->b;",
        "$a ??= 1;",
        "$a = 1_000;",
        "$a = <<<X\n  a\n  X;",
        "$a = $b ?? throw new Exception();",
        "echo $a::class;",
        "try { f(); } catch ( Exception ) {}",
        "class A { private ?int $a; }",
        "class A { public static array $a; }",
        "class A { function __construct( private $a ) {} }",
        "f( 1, );",
        "function f( $a, ) {}",
        "$a = array( 1, ...$b );",
        "$a = [ ...$b ];",
        "$f = strlen(...);",
        "function f( int|string $a ) {}",
        "function f( object $a ) {}",
        "function f(): static {}",
        "f( limit: 1 );",
        "#[A]\nfunction f() {}",
        "hrtime( true );",
        "json_encode( 1, JSON_THROW_ON_ERROR );",
    ] {
        std::fs::write(&path, format!("<?php\n{code}\n")).unwrap();
        assert_ne!(newer(std::slice::from_ref(&path)), "", "{code}");
    }
    let fine = "<?php
        class A { const B = array( 1, ); private static $c = [ 2, ]; public static function d( ?int ...$e ): ?string { return static::$c; } }
        try { f( ...$a ); } catch ( A | B $e ) { throw $e; }
        [ 'a' => $x, 'b' => list( $y ) ] = $z ? g( $a ? b : c ) : h();
        switch ( $a ) { case B: throw new C(); }
        if ( function_exists( 'hrtime' ) ) { hrtime(); }";
    std::fs::write(&path, fine).unwrap();
    assert_eq!(newer(&[path]), "");
}
