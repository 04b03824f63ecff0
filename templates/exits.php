<?php
/**
 * Finds out what ends PHP while it loads the site. PHP itself does not tell who called exit(), so the site is loaded
 * once more with a note added to each exit() in its code. Used by runner.php and ask.php.
 */

if ( ! defined( 'DOING_ASYNC' ) && ! defined( 'WP_GEARS_ASK' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Exits {
	/** The functions that adding the notes takes, with those for access to files. */
	const NEEDS = array(
		'array_pop',
		'closedir',
		'feof',
		'fflush',
		'flock',
		'fread',
		'fseek',
		'fstat',
		'ftell',
		'ftruncate',
		'readdir',
		'rewind',
		'rewinddir',
		'stream_wrapper_register',
		'stream_wrapper_restore',
		'stream_wrapper_unregister',
		'token_get_all',
	);

	/** @var string The file and line that called exit(). */
	private static $at = '';
	/** @var string The last address that the site redirected to. */
	private static $redirect = '';

	/** @param bool $trace Whether to add the notes. */
	public static function watch( $trace ) {
		// The way to add a filter before WordPress is loaded.
		$GLOBALS['wp_filter']['wp_redirect'][ PHP_INT_MAX ][] = array(
			'function'      => array( __CLASS__, 'on_redirect' ),
			'accepted_args' => 1,
		);
		if ( $trace && self::can_trace() ) {
			WP_Gears_Source::begin();
		}
	}

	public static function end() {
		WP_Gears_Source::end();
	}

	public static function can_trace() {
		return array() === array_filter(
			self::NEEDS,
			function ( $function ) {
				return ! function_exists( $function );
			}
		);
	}

	public static function on_redirect( $location ) {
		self::$redirect = (string) $location;
		return $location;
	}

	/** The note: each exit( X ) of the site became exit( WP_Gears_Exits::at( X ) ). */
	public static function at( $status = 0 ) {
		$frame    = debug_backtrace( DEBUG_BACKTRACE_IGNORE_ARGS, 1 );
		self::$at = "{$frame[0]['file']}:{$frame[0]['line']}";
		return $status;
	}

	/** Who called a function, from within it: 'FILE:LINE'; '' if WordPress itself did. */
	public static function caller_of( $function ) {
		foreach ( debug_backtrace( DEBUG_BACKTRACE_IGNORE_ARGS ) as $frame ) {
			if ( $frame['function'] === $function && isset( $frame['file'] ) && false === strpos( $frame['file'], '/wp-includes/' ) ) {
				return "{$frame['file']}:{$frame['line']}";
			}
		}
		return '';
	}

	/** In a shutdown function: what called exit(), as far as that is known. */
	public static function describe() {
		$hooks = isset( $GLOBALS['wp_current_filter'] ) ? (array) $GLOBALS['wp_current_filter'] : array();
		$hook  = $hooks ? (string) end( $hooks ) : '';
		$more  = array();
		if ( '' !== $hook ) {
			$more[] = "in the hook $hook";
		}
		if ( '' === self::$at ) {
			$suspects = '' === $hook ? array() : self::callbacks( $hook );
			$files    = get_included_files();
			$more[]   = $suspects ? 'by ' . implode( ' or ', $suspects ) : 'the last file loaded was ' . end( $files );
		}
		if ( '' !== self::$redirect ) {
			$more[] = 'after a redirect to ' . self::$redirect;
		}
		$what = '' === self::$at ? 'something called exit()' : 'exit() was called in ' . self::$at;
		return $what . ( $more ? ', ' . implode( ', ', $more ) : '' );
	}

	/** The functions that the hook was running, by name, file and line. */
	private static function callbacks( $hook ) {
		$found = array();
		$all   = isset( $GLOBALS['wp_filter'][ $hook ] ) ? $GLOBALS['wp_filter'][ $hook ] : null;
		if ( ! is_object( $all ) || ! method_exists( $all, 'current_priority' ) || ! isset( $all->callbacks[ $all->current_priority() ] ) ) {
			return $found;
		}
		foreach ( array_slice( $all->callbacks[ $all->current_priority() ], 0, 3 ) as $callback ) {
			$function = $callback['function'];
			if ( is_string( $function ) && false !== strpos( $function, '::' ) ) {
				$function = explode( '::', $function );
			}
			try {
				$code = is_array( $function ) ? new ReflectionMethod( $function[0], $function[1] ) : new ReflectionFunction( $function );
				if ( $code->getFileName() ) {
					$found[] = $code->getName() . '() in ' . $code->getFileName() . ':' . $code->getStartLine();
				}
			} catch ( Throwable $ignored ) {
				continue;
			}
		}
		return $found;
	}
}

/** Reads files in PHP's place, and adds the note to those that PHP runs. */
final class WP_Gears_Source {
	/** @var resource|null Set by PHP. */
	public $context;
	/** @var resource|null */
	private $file;
	private static $is_on = false;

	public static function begin() {
		self::$is_on = true;
		stream_wrapper_unregister( 'file' );
		stream_wrapper_register( 'file', __CLASS__ );
	}

	public static function end() {
		if ( self::$is_on ) {
			self::$is_on = false;
			stream_wrapper_restore( 'file' );
		}
	}

	/** Calls a function of PHP with PHP's own access to files. */
	private function plainly( $function, ...$args ) {
		stream_wrapper_restore( 'file' );
		try {
			return @$function( ...$args );
		} finally {
			if ( self::$is_on ) {
				stream_wrapper_unregister( 'file' );
				stream_wrapper_register( 'file', __CLASS__ );
			}
		}
	}

	/** The code with a note in each exit(). No line moves. */
	private static function noted( $code ) {
		if ( false === stripos( $code, 'exit' ) && false === stripos( $code, 'die' ) ) {
			return $code;
		}
		try {
			// Parsed, because a method may have the name of a keyword.
			$tokens = token_get_all( $code, TOKEN_PARSE );
		} catch ( Throwable $ignored ) {
			return $code; // PHP reports it.
		}
		$count  = count( $tokens );
		$text   = '';
		$opened = array();
		$depth  = 0;
		for ( $i = 0; $i < $count; $i++ ) {
			$token = $tokens[ $i ];
			$kind  = is_array( $token ) ? $token[0] : $token;
			$text .= is_array( $token ) ? $token[1] : $token;
			if ( T_HALT_COMPILER === $kind ) {
				return $code;
			}
			if ( '(' === $kind ) {
				++$depth;
			} elseif ( ')' === $kind ) {
				if ( $opened && end( $opened ) === $depth ) {
					array_pop( $opened );
					$text .= ')';
				}
				--$depth;
			} elseif ( T_EXIT === $kind ) {
				$next = self::next( $tokens, $i );
				if ( '(' !== $next[0] ) {
					$text .= '(\WP_Gears_Exits::at())';
				} elseif ( T_ELLIPSIS !== self::next( $tokens, $next[1] )[0] ) {
					$text    .= '(\WP_Gears_Exits::at';
					$opened[] = $depth + 1;
				}
			}
		}
		return $text;
	}

	/** The next token that is no space or comment: its kind and its place. */
	private static function next( array $tokens, $i ) {
		do {
			++$i;
			$token = isset( $tokens[ $i ] ) ? $tokens[ $i ] : '';
			$kind  = is_array( $token ) ? $token[0] : $token;
		} while ( in_array( $kind, array( T_WHITESPACE, T_COMMENT, T_DOC_COMMENT ), true ) );
		return array( $kind, $i );
	}

	public function stream_open( $path, $mode, $options ) {
		$this->file = $this->plainly( 'fopen', $path, $mode, (bool) ( $options & STREAM_USE_PATH ) );
		if ( ! $this->file ) {
			return false;
		}
		if ( $options & 128 ) { // PHP includes it.
			$code = self::noted( stream_get_contents( $this->file ) );
			fclose( $this->file );
			$this->file = fopen( 'php://memory', 'w+' );
			fwrite( $this->file, $code );
			rewind( $this->file );
		}
		return true;
	}

	public function stream_read( $count ) {
		return fread( $this->file, $count );
	}

	public function stream_write( $data ) {
		return fwrite( $this->file, $data );
	}

	public function stream_tell() {
		return ftell( $this->file );
	}

	public function stream_seek( $offset, $whence = SEEK_SET ) {
		return 0 === fseek( $this->file, $offset, $whence );
	}

	public function stream_eof() {
		return feof( $this->file );
	}

	public function stream_stat() {
		return fstat( $this->file );
	}

	public function stream_flush() {
		return fflush( $this->file );
	}

	public function stream_close() {
		fclose( $this->file );
	}

	public function stream_lock( $operation ) {
		return $operation ? flock( $this->file, $operation ) : true;
	}

	public function stream_truncate( $size ) {
		return ftruncate( $this->file, $size );
	}

	public function stream_set_option( $option, $one, $two ) {
		return false;
	}

	public function stream_cast( $as ) {
		return $this->file;
	}

	public function stream_metadata( $path, $option, $value ) {
		$functions = array(
			STREAM_META_TOUCH      => 'touch',
			STREAM_META_ACCESS     => 'chmod',
			STREAM_META_OWNER      => 'chown',
			STREAM_META_OWNER_NAME => 'chown',
			STREAM_META_GROUP      => 'chgrp',
			STREAM_META_GROUP_NAME => 'chgrp',
		);
		return $this->plainly( $functions[ $option ], $path, ...array_values( (array) $value ) );
	}

	public function url_stat( $path, $flags ) {
		return $this->plainly( $flags & STREAM_URL_STAT_LINK ? 'lstat' : 'stat', $path );
	}

	public function unlink( $path ) {
		return $this->plainly( 'unlink', $path );
	}

	public function rename( $from, $to ) {
		return $this->plainly( 'rename', $from, $to );
	}

	public function mkdir( $path, $mode, $options ) {
		return $this->plainly( 'mkdir', $path, $mode, (bool) ( $options & STREAM_MKDIR_RECURSIVE ) );
	}

	public function rmdir( $path ) {
		return $this->plainly( 'rmdir', $path );
	}

	public function dir_opendir( $path ) {
		$this->file = $this->plainly( 'opendir', $path );
		return (bool) $this->file;
	}

	public function dir_readdir() {
		return readdir( $this->file );
	}

	public function dir_rewinddir() {
		rewinddir( $this->file );
		return true;
	}

	public function dir_closedir() {
		closedir( $this->file );
		return true;
	}
}
