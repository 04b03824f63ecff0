<?php
/**
 * Makes PHP's command line look to the site like a request for its home page, as WP-CLI's --url does, so that code that
 * depends on the host name or redirects to https behaves as on the web. Used by runner.php and ask.php.
 */

if ( ! defined( 'DOING_ASYNC' ) && ! defined( 'WP_GEARS_ASK' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Request {
	/** @var string The URL of the site's home that this process assumes, or ''. */
	private static $home = '';
	/** @var string The host that replaces the one in it, or ''. */
	private static $host = '';
	/** @var string The home in the database, once that was asked. */
	private static $stored = '';
	/** @var bool Whether the home became known only after wp-config.php. */
	private static $went_on = false;
	/** @var callable|null Called with the site's home if that is another one. */
	private static $on_other;

	/**
	 * @param string        $home     The home as far as it is known before WordPress loads, or ''.
	 * @param string        $host     What the administrator wants instead: a host, or a URL.
	 * @param callable|null $on_other Called with the home that PHP has to be started with instead, and whether the site
	 *                                can also be loaded on: no plugin is loaded yet.
	 */
	public static function start( $home, $host, $on_other ) {
		$whole          = false !== strpos( $host, '://' );
		self::$host     = $whole ? '' : $host;
		self::$on_other = $whole ? null : $on_other;
		self::$home     = self::with_host( $whole ? $host : $home );
		if ( '' !== self::$home ) {
			self::set( self::$home );
		}
		// What serves cached pages to visitors would do so here, too, and exit.
		self::filter( 'enable_loading_advanced_cache_dropin', 'no' );
		if ( '' === self::normal( $home ) && self::$on_other ) {
			// The first filters that WordPress applies after it has connected to the database. Old versions have only
			// the second one.
			self::filter( 'enable_loading_object_cache_dropin', 'on_database' );
			self::filter( 'alloptions', 'on_database' );
		}
	}

	/** The way to add a filter before WordPress is loaded. */
	private static function filter( $name, $method ) {
		$GLOBALS['wp_filter'][ $name ][1][] = array(
			'function'      => array( __CLASS__, $method ),
			'accepted_args' => 1,
		);
	}

	public static function no() {
		return false;
	}

	/** Before any plugin is loaded: wp-config.php may need the home, so PHP is started again with it. */
	public static function on_database( $value ) {
		self::look( true );
		return $value;
	}

	/** Looks up the home in the database, if it is not known and the database is connected. */
	public static function look( $may_go_on = false ) {
		if ( self::$on_other && '' === self::$stored && isset( $GLOBALS['wpdb'] ) && function_exists( 'is_multisite' ) ) {
			self::$stored = self::stored_home();
			self::compare( self::$stored, $may_go_on );
		}
	}

	/** Once the site is loaded: compares what was assumed with what the site says. */
	public static function check() {
		if ( ! self::$on_other ) {
			return;
		}
		$home = (string) get_option( 'home' );
		if ( is_multisite() ) {
			$blog = get_site();
			$home = $blog ? self::url_of_blog( $home, $blog->domain, $blog->path ) : '';
		}
		if ( self::$went_on && '' === self::with_host( $home ) ) {
			// wp-config.php took it from the request.
			call_user_func( self::$on_other, self::$home, false );
		}
		self::compare( $home, false );
	}

	/** Goes on with this home. */
	public static function become( $home ) {
		self::$went_on = true;
		self::$home    = $home;
		self::set( $home );
	}

	/** The home of this process, or ''. */
	public static function home() {
		return self::$home;
	}

	/** Becomes a request for a blog of a network. */
	public static function of_blog( $id ) {
		$blog = get_site( $id );
		if ( $blog ) {
			self::set( self::url_of_blog( (string) get_blog_option( $id, 'home' ), $blog->domain, $blog->path ) );
		}
	}

	private static function url_of_blog( $home, $domain, $path ) {
		return ( 0 === stripos( $home, 'https:' ) ? 'https' : 'http' ) . "://$domain$path";
	}

	private static function compare( $home, $may_go_on ) {
		$home = self::with_host( $home );
		if ( '' !== $home && $home !== self::$home ) {
			call_user_func( self::$on_other, $home, $may_go_on );
		}
	}

	/** The home in the database: that of the main site in a network. */
	private static function stored_home() {
		global $wpdb;

		$quiet = $wpdb->suppress_errors( true );
		$home  = '';
		if ( is_multisite() ) {
			$network = defined( 'SITE_ID_CURRENT_SITE' ) ? (int) SITE_ID_CURRENT_SITE : 1;
			$tables  = $wpdb->base_prefix;
			$blog    = $wpdb->get_row( "SELECT b.blog_id, b.domain, b.path FROM {$tables}site n JOIN {$tables}blogs b ON b.site_id = n.id AND b.domain = n.domain AND b.path = n.path ORDER BY n.id <> $network, n.id, b.blog_id LIMIT 1" );
			if ( $blog ) {
				$home = self::url_of_blog( self::stored_option( $wpdb->get_blog_prefix( (int) $blog->blog_id ) ), $blog->domain, $blog->path );
			}
		} else {
			$home = self::stored_option( $wpdb->prefix );
		}
		$wpdb->suppress_errors( $quiet );
		return $home;
	}

	private static function stored_option( $prefix ) {
		global $wpdb;
		return (string) $wpdb->get_var( "SELECT option_value FROM {$prefix}options WHERE option_name = 'home'" );
	}

	/** The URL with the administrator's host, in a form that can be compared; '' if it has no host. */
	private static function with_host( $url ) {
		if ( '' === self::$host ) {
			return self::normal( $url );
		}
		$found = '' === self::normal( $url ) ? array() : parse_url( $url );
		$https = isset( $found['scheme'] ) && 'https' === strtolower( $found['scheme'] );
		return self::normal( ( $https ? 'https' : 'http' ) . '://' . self::$host . ( isset( $found['path'] ) ? $found['path'] : '' ) );
	}

	private static function normal( $url ) {
		$found = parse_url( trim( (string) $url ) );
		if ( ! isset( $found['scheme'], $found['host'] ) || ! preg_match( '/^https?$/i', $found['scheme'] ) ) {
			return '';
		}
		$path = isset( $found['path'] ) ? trim( $found['path'], '/' ) : '';
		return strtolower( "{$found['scheme']}://{$found['host']}" ) . ( isset( $found['port'] ) ? ":{$found['port']}" : '' ) . ( '' === $path ? '/' : "/$path/" );
	}

	/** Sets what a web server would set for this request. */
	private static function set( $url ) {
		$url = self::normal( $url );
		if ( '' === $url ) {
			return;
		}
		$found = parse_url( $url );
		$https = 'https' === $found['scheme'];
		$port  = isset( $found['port'] ) ? $found['port'] : ( $https ? 443 : 80 );

		unset( $_SERVER['HTTPS'] );
		if ( $https ) {
			$_SERVER['HTTPS'] = 'on';
		}
		$_SERVER['HTTP_HOST']       = $found['host'] . ( isset( $found['port'] ) ? ":{$found['port']}" : '' );
		$_SERVER['SERVER_NAME']     = $found['host'];
		$_SERVER['SERVER_PORT']     = (string) $port;
		$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
		$_SERVER['REQUEST_SCHEME']  = $found['scheme'];
		$_SERVER['REQUEST_METHOD']  = 'GET';
		$_SERVER['REQUEST_URI']     = $found['path'];
		$_SERVER['QUERY_STRING']    = '';
		$_SERVER['REMOTE_ADDR']     = '127.0.0.1';
		$_SERVER['HTTP_USER_AGENT'] = 'wp-gears';
		if ( function_exists( 'putenv' ) ) {
			// A web server's PHP finds these with getenv(), too.
			putenv( "HTTP_HOST={$_SERVER['HTTP_HOST']}" );
			putenv( "SERVER_NAME={$_SERVER['SERVER_NAME']}" );
		}
	}
}
