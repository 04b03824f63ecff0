<?php
/**
 * The commands of WP-CLI: wp gears status, failed, retry, forget and test.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

/**
 * Looks at background jobs, and retries or deletes failed ones.
 */
final class WP_Gears_Command {
	/**
	 * Shows how many jobs wait, run and have failed, and the workers.
	 *
	 * ## OPTIONS
	 *
	 * [--format=<format>]
	 * : Render output in a particular format.
	 * ---
	 * default: table
	 * options:
	 *   - table
	 *   - csv
	 *   - json
	 *   - yaml
	 * ---
	 *
	 * ## EXAMPLES
	 *
	 *     wp gears status
	 */
	public function status( $args, $assoc_args ) {
		$rows = array();
		foreach ( WP_Gears_Numbers::all() as $name => $number ) {
			$rows[] = array( 'name' => $name, 'value' => $number['raw'] );
		}
		WP_CLI\Utils\format_items( $assoc_args['format'], $rows, array( 'name', 'value' ) );
		if ( '' !== WP_Gears_Seen::why_not() ) {
			WP_CLI::warning( WP_Gears_Seen::why_not() );
		}
	}

	/**
	 * Lists failed jobs, the latest first.
	 *
	 * ## OPTIONS
	 *
	 * [--hook=<pattern>]
	 * : Only jobs of these hooks; * stands for any text, ? for one character.
	 *
	 * [--error=<text>]
	 * : Only jobs whose last error contains this text.
	 *
	 * [--since=<age>]
	 * : Only jobs whose last attempt is not older than this: 90s, 30m, 1h, 7d.
	 *
	 * [--group]
	 * : Count failed jobs by hook and error instead of listing each.
	 *
	 * [--fields=<fields>]
	 * : Limit the output to specific fields.
	 *
	 * [--format=<format>]
	 * : Render output in a particular format.
	 * ---
	 * default: table
	 * options:
	 *   - table
	 *   - csv
	 *   - json
	 *   - yaml
	 *   - count
	 *   - ids
	 * ---
	 *
	 * ## EXAMPLES
	 *
	 *     wp gears failed --hook='import_*' --since=1h
	 *     wp gears failed --group
	 */
	public function failed( $args, $assoc_args ) {
		$filter = self::filter( $assoc_args );
		$rows   = array();
		if ( isset( $assoc_args['group'] ) ) {
			foreach ( WP_Gears_Jobs::groups( $filter ) as $group ) {
				$rows[] = array( 'latest' => self::date( $group['latest'] ) ) + $group;
			}
			$fields = array( 'count', 'latest', 'hook', 'error' );
		} else {
			WP_Gears_Jobs::each(
				WP_Gears_Jobs::FAILED,
				$filter,
				function ( array $job ) use ( &$rows ) {
					$rows[] = array(
						'id'       => $job['id'],
						'date'     => self::date( $job['at'] ),
						'hook'     => $job['hook'],
						'blog'     => $job['blog'],
						'attempts' => count( $job['tries'] ),
						'error'    => $job['error'],
					);
				}
			);
			$fields = array( 'id', 'date', 'hook', 'attempts', 'error' );
		}
		if ( 'ids' === $assoc_args['format'] ) {
			echo implode( ' ', array_column( $rows, 'id' ) );
			return;
		}
		$formatter = new WP_CLI\Formatter( $assoc_args, $fields );
		$formatter->display_items( $rows );
	}

	/**
	 * Has the workers run failed jobs again.
	 *
	 * ## OPTIONS
	 *
	 * [<id>...]
	 * : The jobs.
	 *
	 * [--all]
	 * : All failed jobs.
	 *
	 * [--hook=<pattern>]
	 * : All failed jobs of these hooks; * stands for any text, ? for one character.
	 *
	 * [--error=<text>]
	 * : All failed jobs whose last error contains this text.
	 *
	 * [--since=<age>]
	 * : All failed jobs whose last attempt is not older than this: 90s, 30m, 1h, 7d.
	 *
	 * ## EXAMPLES
	 *
	 *     wp gears retry 1795572183914-d2f254af
	 *     wp gears retry --hook='import_*' --error='timed out'
	 */
	public function retry( $args, $assoc_args ) {
		$tokens = self::tokens( $args, $assoc_args );
		if ( ! $tokens ) {
			WP_CLI::log( 'No failed jobs.' );
			return;
		}
		$changed = WP_Gears_Jobs::retry( $tokens );
		if ( $changed > 0 && ! WP_Gears_Jobs::wake() ) {
			WP_CLI::warning( 'No job server answers: the workers find the jobs when they look for some, which may take hours.' );
		}
		WP_CLI\Utils\report_batch_operation_results( 'job', 'retry', count( $tokens ), $changed, 0, count( $tokens ) - $changed );
	}

	/**
	 * Deletes failed jobs.
	 *
	 * ## OPTIONS
	 *
	 * [<id>...]
	 * : The jobs.
	 *
	 * [--all]
	 * : All failed jobs.
	 *
	 * [--hook=<pattern>]
	 * : All failed jobs of these hooks; * stands for any text, ? for one character.
	 *
	 * [--error=<text>]
	 * : All failed jobs whose last error contains this text.
	 *
	 * [--since=<age>]
	 * : All failed jobs whose last attempt is not older than this: 90s, 30m, 1h, 7d.
	 *
	 * ## EXAMPLES
	 *
	 *     wp gears forget --hook='import_*'
	 */
	public function forget( $args, $assoc_args ) {
		$tokens = self::tokens( $args, $assoc_args );
		if ( ! $tokens ) {
			WP_CLI::log( 'No failed jobs.' );
			return;
		}
		$changed = WP_Gears_Jobs::forget( $tokens );
		if ( $changed > 0 ) {
			WP_Gears_Jobs::wake();
		}
		WP_CLI\Utils\report_batch_operation_results( 'job', 'delete', count( $tokens ), $changed, 0, count( $tokens ) - $changed );
	}

	/**
	 * Submits a job, and waits until a worker has run it.
	 *
	 * ## OPTIONS
	 *
	 * [--timeout=<seconds>]
	 * : How long to wait.
	 * ---
	 * default: 30
	 * ---
	 *
	 * ## EXAMPLES
	 *
	 *     wp gears test
	 */
	public function test( $args, $assoc_args ) {
		global $wpdb;
		if ( ! function_exists( 'wp_async_task_add' ) ) {
			WP_CLI::error( 'This site has no function wp_async_task_add(): no plugin for background jobs is active.' );
		}
		$options = $wpdb->base_prefix . 'options';
		$token   = bin2hex( random_bytes( 16 ) );
		$row     = array( 'option_name' => "wp_gears_probe_$token" );
		// The worker writes into it. Past every cache, as that is another process.
		$wpdb->insert( $options, $row + array( 'option_value' => '', 'autoload' => 'no' ) );
		$sent   = microtime( true );
		$handle = wp_async_task_add( 'wp_gears_probe', array( $token ), 'high' );
		$until  = $sent + max( 1, (int) $assoc_args['timeout'] );
		$seen   = null;
		while ( is_string( $handle ) && '' !== $handle && ! is_array( $seen ) && microtime( true ) < $until ) {
			usleep( 20000 );
			$seen = json_decode( (string) $wpdb->get_var( $wpdb->prepare( "SELECT option_value FROM `$options` WHERE option_name = %s", $row['option_name'] ) ), true );
		}
		$wpdb->delete( $options, $row );
		if ( ! is_string( $handle ) || '' === $handle ) {
			wp_unschedule_hook( 'wp_gears_probe' );
			WP_CLI::error( extension_loaded( 'gearman' ) ? 'The job did not reach a job server: none answers. See wp gears status.' : 'The job did not reach a job server: this PHP has no gearman extension (' . PHP_BINARY . ').' );
		}
		if ( ! is_array( $seen ) ) {
			WP_CLI::error( 'No worker ran the job within ' . (int) $assoc_args['timeout'] . ' s. See wp gears status, and wp-gears doctor on the host.' );
		}
		WP_CLI::success( sprintf( 'A worker%s ran the job %s: it started after %d ms and took %d ms.', empty( $seen['host'] ) ? '' : " on {$seen['host']}", $handle, max( 0, 1000 * ( $seen['started'] - $sent ) ), 1000 * ( $seen['done'] - $seen['started'] ) ) );
	}

	/** The chosen jobs. */
	private static function tokens( array $ids, array $assoc_args ) {
		$filter = self::filter( $assoc_args );
		$ways   = array_filter( array( (bool) $ids, isset( $assoc_args['all'] ), (bool) $filter ) );
		if ( 1 !== count( $ways ) ) {
			WP_CLI::error( 'Choose jobs by ID, by --hook, --error and --since, or all with --all.' );
		}
		$tokens = array();
		$found  = array();
		WP_Gears_Jobs::each(
			WP_Gears_Jobs::FAILED,
			$filter,
			function ( array $job ) use ( &$tokens, &$found, $ids ) {
				if ( ! $ids || in_array( $job['id'], $ids, true ) ) {
					$tokens[] = $job['token'];
					$found[]  = $job['id'];
				}
			}
		);
		$missing = array_diff( $ids, $found );
		if ( $missing ) {
			WP_CLI::error( 'No such failed job: ' . implode( ', ', $missing ) );
		}
		return $tokens;
	}

	private static function filter( array $assoc_args ) {
		$filter = array_intersect_key( $assoc_args, array( 'hook' => 1, 'error' => 1 ) );
		if ( isset( $assoc_args['since'] ) ) {
			$units = array( '' => 1, 's' => 1, 'm' => 60, 'h' => 3600, 'd' => 86400, 'w' => 604800 );
			if ( ! preg_match( '/^(\d{1,9})\s*([smhdw]?)$/', $assoc_args['since'], $age ) ) {
				WP_CLI::error( '--since: expected an age such as 90s, 30m, 1h or 7d.' );
			}
			$filter['since'] = 1000 * ( time() - $age[1] * $units[ $age[2] ] );
		}
		return $filter;
	}

	private static function date( $ms ) {
		return gmdate( 'Y-m-d H:i:s', (int) ( $ms / 1000 ) );
	}
}
