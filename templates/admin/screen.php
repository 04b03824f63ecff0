<?php
/**
 * Tools -> Background jobs: the numbers, and the failed jobs with retry and delete. On a network, the network's
 * administrators have the whole of it below Settings, and each site's administrators its own failed jobs.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Screen {
	const SLUG = 'wp-gears-jobs';

	/** What may be done with failed jobs. */
	const RETRY  = 'retry';
	const FORGET = 'forget';

	/** @var object|null The table, once the page has begun. */
	private static $table;

	public static function menu() {
		$title = __( 'Background jobs', 'wp-gears' );
		$show  = array( __CLASS__, 'show' );
		$page  = is_network_admin()
			? add_submenu_page( 'settings.php', $title, $title, self::capability(), self::SLUG, $show )
			: add_management_page( $title, $title, self::capability(), self::SLUG, $show );
		if ( $page ) {
			add_action( "load-$page", array( __CLASS__, 'load' ) );
		}
	}

	/** The page that the person may use: on a network, its administrators have one for all sites. */
	public static function url( array $more = array() ) {
		$is_network = is_network_admin() || is_multisite() && ! self::$table && current_user_can( 'manage_network_options' );
		return add_query_arg( array( 'page' => self::SLUG ) + $more, $is_network ? network_admin_url( 'settings.php' ) : admin_url( 'tools.php' ) );
	}

	private static function capability() {
		return is_network_admin() ? 'manage_network_options' : 'manage_options';
	}

	/** Whether the page is about all of the installation, rather than one site of a network. */
	private static function is_whole() {
		return is_network_admin() || ! is_multisite();
	}

	/** The only network's site whose jobs the page is about, or null. */
	public static function blog() {
		return self::is_whole() ? null : get_current_blog_id();
	}

	/** Before anything of the page is sent. */
	public static function load() {
		if ( ! current_user_can( self::capability() ) ) {
			wp_die( esc_html__( 'Sorry, you are not allowed to access this page.', 'wp-gears' ), 403 );
		}
		self::$table = WP_Gears_Table::make();
		$action      = self::$table->current_action();
		if ( self::RETRY === $action || self::FORGET === $action ) {
			self::act( $action );
		}
		get_current_screen()->set_screen_reader_content(
			array(
				'heading_views'      => __( 'Filter jobs list', 'wp-gears' ),
				'heading_pagination' => __( 'Jobs list navigation', 'wp-gears' ),
				'heading_list'       => __( 'Jobs list', 'wp-gears' ),
			)
		);
		add_action( 'admin_head', array( __CLASS__, 'style' ) );
		self::$table->prepare_items();
	}

	private static function act( $action ) {
		check_admin_referer( 'bulk-' . self::SLUG );
		$tokens = array();
		if ( ! empty( $_REQUEST['everything'] ) ) {
			WP_Gears_Jobs::each(
				WP_Gears_Jobs::FAILED,
				self::filter(),
				function ( array $job ) use ( &$tokens ) {
					$tokens[] = $job['token'];
				}
			);
		} elseif ( isset( $_REQUEST['job'] ) ) {
			$tokens = array_map( 'strval', array_filter( (array) wp_unslash( $_REQUEST['job'] ), 'is_scalar' ) );
		}
		$changed = self::RETRY === $action ? WP_Gears_Jobs::retry( $tokens, self::blog() ) : WP_Gears_Jobs::forget( $tokens, self::blog() );
		$woken   = 0 === $changed || WP_Gears_Jobs::wake();
		$said    = array(
			'did'   => $action,
			'count' => $changed,
			'of'    => count( $tokens ),
			'woken' => (int) $woken,
			's'     => rawurlencode( self::search() ),
		);
		wp_safe_redirect( self::url( array_filter( $said, 'strlen' ) ) );
		exit;
	}

	/** What the person looks for. */
	public static function search() {
		return isset( $_REQUEST['s'] ) && is_string( $_REQUEST['s'] ) ? trim( wp_unslash( $_REQUEST['s'] ) ) : '';
	}

	/** The filter for WP_Gears_Jobs. */
	public static function filter() {
		$filter = array();
		if ( null !== self::blog() ) {
			$filter['blog'] = self::blog();
		}
		if ( '' !== self::search() ) {
			$filter['search'] = self::search();
		}
		return $filter;
	}

	public static function show() {
		echo '<div class="wrap"><h1 class="wp-heading-inline">' . esc_html__( 'Background jobs', 'wp-gears' ) . '</h1>';
		if ( '' !== self::search() ) {
			/* translators: %s: what was searched for */
			echo '<span class="subtitle">' . sprintf( esc_html__( 'Search results for: %s', 'wp-gears' ), '<strong>' . esc_html( self::search() ) . '</strong>' ) . '</span>';
		}
		echo '<hr class="wp-header-end">';
		self::notice();
		if ( self::is_whole() ) {
			self::numbers();
		}
		if ( WP_Gears_Jobs::count( WP_Gears_Jobs::FAILED ) >= WP_Gears_Jobs::MAX_KEPT ) {
			/* translators: %s: a number */
			self::say( 'warning', sprintf( __( 'Only the latest %s failed jobs are kept: the next one displaces the oldest.', 'wp-gears' ), number_format_i18n( WP_Gears_Jobs::MAX_KEPT ) ) );
		}
		self::$table->views();
		$view = self::$table->view();
		echo '<form method="get" class="wp-gears-search"><input type="hidden" name="page" value="' . esc_attr( self::SLUG ) . '"><input type="hidden" name="view" value="' . esc_attr( $view ) . '">';
		self::$table->search_box( __( 'Search jobs', 'wp-gears' ), 'wp-gears-jobs' );
		// Not with the search: a list of selected jobs is too long for an address.
		echo '</form><form method="post" action="' . esc_url( self::url() ) . '"><input type="hidden" name="s" value="' . esc_attr( self::search() ) . '">';
		self::$table->display();
		echo '</form><p class="description">' . esc_html__( 'Arguments of jobs are not shown here. Jobs of more than 4 MB, and jobs that were refused because this site has not submitted them, are kept on the host alone: “wp-gears failed” lists them there.', 'wp-gears' ) . '</p></div>';
	}

	private static function numbers() {
		echo '<ul class="wp-gears-numbers">';
		foreach ( array_diff_key( WP_Gears_Numbers::all(), array( 'extension' => 0 ) ) as $name => $number ) {
			printf( '<li class="wp-gears-%s"><span>%s</span> <strong>%s</strong></li>', esc_attr( $name ), esc_html( $number['label'] ), esc_html( $number['value'] ) );
		}
		echo '</ul>';
		if ( '' !== WP_Gears_Seen::why_not() ) {
			echo '<p class="description">' . esc_html( WP_Gears_Seen::why_not() . ' ' . __( 'How long jobs wait is therefore not known here, and the number of workers is what the job server says.', 'wp-gears' ) ) . '</p>';
		}
		if ( ! extension_loaded( 'gearman' ) ) {
			self::say( 'error', __( 'The gearman extension is not loaded in the PHP that serves this page, so WP-Cron runs background jobs instead, during visitors’ requests.', 'wp-gears' ) );
		}
		$queue = WP_Gears_Seen::queue();
		if ( $queue['silent'] ) {
			/* translators: %s: addresses of servers */
			self::say( 'error', sprintf( __( 'No answer from the job server %s. While none answers, WP-Cron runs background jobs.', 'wp-gears' ), implode( ', ', $queue['silent'] ) ) );
		}
	}

	/** What became of the last click. */
	private static function notice() {
		$did = isset( $_GET['did'] ) ? $_GET['did'] : '';
		if ( self::RETRY !== $did && self::FORGET !== $did ) {
			return;
		}
		$count = isset( $_GET['count'] ) ? absint( $_GET['count'] ) : 0;
		$of    = isset( $_GET['of'] ) ? absint( $_GET['of'] ) : 0;
		$shown = number_format_i18n( $count );
		if ( 0 === $of ) {
			self::say( 'warning', __( 'No job was selected.', 'wp-gears' ) );
			return;
		}
		if ( $count > 0 && self::RETRY === $did ) {
			/* translators: %s: a number */
			$text = sprintf( _n( '%s job will run again.', '%s jobs will run again.', $count, 'wp-gears' ), $shown );
			self::say( 'success', $text . ( empty( $_GET['woken'] ) ? ' ' . __( 'No job server answers, so that may take until it does.', 'wp-gears' ) : '' ) );
		} elseif ( $count > 0 ) {
			/* translators: %s: a number */
			self::say( 'success', sprintf( _n( '%s job deleted.', '%s jobs deleted.', $count, 'wp-gears' ), $shown ) );
		}
		if ( $count < $of ) {
			/* translators: %s: a number */
			self::say( 'warning', sprintf( _n( '%s job was left alone: it has been retried or deleted already.', '%s jobs were left alone: they have been retried or deleted already.', $of - $count, 'wp-gears' ), number_format_i18n( $of - $count ) ) );
		}
	}

	private static function say( $kind, $text ) {
		printf( '<div class="notice notice-%s is-dismissible"><p>%s</p></div>', esc_attr( $kind ), esc_html( $text ) );
	}

	public static function style() {
		echo '<style>
			.wp-gears-numbers { display: grid; grid-template-columns: repeat( auto-fill, minmax( 120px, 1fr ) ); gap: 8px; margin: 16px 0; }
			.wp-gears-numbers li { margin: 0; padding: 8px 12px; background: #fff; border: 1px solid #c3c4c7; }
			.wp-gears-numbers span { display: block; color: #50575e; font-size: 12px; }
			.wp-gears-numbers strong { font-size: 18px; font-weight: 600; line-height: 1.5; }
			.wp-list-table .column-hook { width: 22%; }
			.wp-list-table .column-tries { width: 9em; }
			.wp-list-table .column-at { width: 12em; }
			.wp-list-table .column-count { width: 7em; }
			.wp-list-table .column-error, .wp-list-table .column-hook { overflow-wrap: anywhere; }
			.wp-gears-error { white-space: pre-line; }
			.wp-gears-narrow { display: none; color: #50575e; overflow-wrap: anywhere; }
			@media screen and ( max-width: 782px ) {
				tr:not( .is-expanded ) .wp-gears-narrow { display: block; }
				.wp-gears-search .search-box { position: static; display: flex; align-items: center; gap: 8px; height: auto; margin: 8px 0; }
				.wp-gears-search .search-box input[type="search"] { flex: 1; width: auto; margin: 0; }
				.wp-gears-search .search-box .button { margin: 0; }
			}
		</style>';
	}
}
