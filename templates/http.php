<?php
/**
 * Asks the web servers of this host for a page of the site. Used by ask.php.
 */

if ( ! defined( 'WP_GEARS_ASK' ) ) {
	http_response_code( 403 );
	exit;
}

final class WP_Gears_Http {
	const CANNOT_CONNECT = 'PHP has no stream_socket_client(), which disable_functions may disable';

	/** One request, without a library: the page's host name goes to this host's own address. */
	public static function exchange( array $listener, array $to, $query, array $headers, $patience ) {
		$host   = isset( $to['host'] ) ? $to['host'] : 'localhost';
		if ( ! self::can_connect() ) {
			return array( 'error' => self::CANNOT_CONNECT );
		}
		$path   = isset( $to['path'] ) ? $to['path'] : '/';
		$https  = isset( $to['scheme'] ) && 'https' === $to['scheme'];
		$port   = (int) $listener['port'];
		$tls    = 443 === $port || ( $https && isset( $to['port'] ) && (int) $to['port'] === $port );
		$at     = ( false !== strpos( $listener['address'], ':' ) ? "[{$listener['address']}]" : $listener['address'] ) . ":$port";
		$url    = ( $tls ? 'https' : 'http' ) . "://$host" . ( $port === ( $tls ? 443 : 80 ) ? '' : ":$port" ) . $path;
		$ssl    = array(
			'verify_peer'       => false,
			'verify_peer_name'  => false,
			'allow_self_signed' => true,
			'peer_name'         => $host,
			'SNI_enabled'       => true,
		);
		$socket = @stream_socket_client( ( $tls ? 'ssl' : 'tcp' ) . "://$at", $number, $error, 5, STREAM_CLIENT_CONNECT, stream_context_create( array( 'ssl' => $ssl ) ) );
		if ( ! $socket ) {
			return array( 'error' => "{$listener['program']} on $at: $error" );
		}
		stream_set_timeout( $socket, $patience );
		$headers[] = 'Host: ' . $host . ( isset( $to['port'] ) ? ":{$to['port']}" : '' );
		$headers[] = 'User-Agent: wp-gears';
		$headers[] = 'Cache-Control: no-cache';
		$headers[] = 'Connection: close';
		if ( $https && ! $tls ) {
			$headers[] = 'X-Forwarded-Proto: https';
		}
		// HTTP/1.0, so that the answer comes in one piece.
		fwrite( $socket, "GET $path$query HTTP/1.0\r\n" . implode( "\r\n", $headers ) . "\r\n\r\n" );
		$text = (string) stream_get_contents( $socket, 1 << 20 );
		$late = stream_get_meta_data( $socket )['timed_out'];
		fclose( $socket );
		return array(
			'url'    => $url,
			'text'   => $text,
			'late'   => $late,
			'status' => preg_match( '#^HTTP/\S+ (\d+[^\r\n]*)#', $text, $found ) ? $found[1] : '',
		);
	}

	public static function can_connect() {
		return function_exists( 'stream_socket_client' ) && function_exists( 'stream_context_create' ) && function_exists( 'stream_get_meta_data' );
	}

	/** What visitors get who request the runner: of several servers' answers, the one that is least closed. */
	public static function runner( array $listeners, $name ) {
		$url  = wp_parse_url( site_url( "/$name" ) );
		$none = wp_parse_url( site_url( '/wp-gears-' . bin2hex( random_bytes( 8 ) ) . '.php' ) );
		$best = array( 'unreachable' => 'no web server listens on this host' );
		foreach ( $listeners as $listener ) {
			$heard = self::exchange( $listener, $url, '', array(), 3 );
			if ( isset( $heard['error'] ) || ( '' === $heard['status'] && ! $heard['late'] ) ) {
				$why  = isset( $heard['error'] ) ? $heard['error'] : "{$listener['program']} on port {$listener['port']} does not speak HTTP";
				$best = isset( $best['unreachable'] ) ? array( 'unreachable' => $why ) : $best;
				continue;
			}
			$answer = array(
				'url'    => $heard['url'],
				'status' => (int) $heard['status'],
				'hangs'  => (bool) $heard['late'],
			);
			if ( $heard['late'] ) {
				return $answer;
			}
			if ( 200 === $answer['status'] ) {
				// A server that answers everything with 200 says nothing about the runner.
				$other = self::exchange( $listener, $none, '', array(), 3 );

				$answer['everything'] = ! isset( $other['error'] ) && 200 === (int) $other['status'];
				if ( ! $answer['everything'] ) {
					return $answer;
				}
			}
			// A redirect to another server of this host tells less than that server's own answer.
			if ( isset( $best['unreachable'] ) || $best['status'] < 400 ) {
				$best = $answer;
			}
		}
		return $best;
	}
}
