<?php
/**
 * The table of failed jobs, of jobs that wait for a retry, or of kinds of failures.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Table {
	/** A WP_List_Table. Only pages that show one load that class. */
	public static function make() {
		require_once ABSPATH . 'wp-admin/includes/class-wp-list-table.php';

		return new class( array( 'singular' => 'job', 'plural' => WP_Gears_Screen::SLUG ) ) extends WP_List_Table {
			const FAILED  = 'failed';
			const RETRIES = 'retries';
			const GROUPS  = 'groups';

			const PER_PAGE = 50;

			/** Which of the lists it is. */
			public function view() {
				$view = isset( $_REQUEST['view'] ) && is_string( $_REQUEST['view'] ) ? $_REQUEST['view'] : '';
				return in_array( $view, array( self::RETRIES, self::GROUPS ), true ) ? $view : self::FAILED;
			}

			public function get_columns() {
				if ( self::GROUPS === $this->view() ) {
					return array(
						'hook'  => __( 'Hook', 'wp-gears' ),
						'error' => __( 'Error', 'wp-gears' ),
						'count' => __( 'Jobs', 'wp-gears' ),
						'at'    => __( 'Latest', 'wp-gears' ),
					);
				}
				$box = self::FAILED === $this->view() ? array( 'cb' => '<input type="checkbox">' ) : array();
				return $box + array(
					'hook'  => __( 'Hook', 'wp-gears' ),
					'error' => __( 'Error', 'wp-gears' ),
					'tries' => __( 'Attempts', 'wp-gears' ),
					'at'    => self::FAILED === $this->view() ? __( 'Failed', 'wp-gears' ) : __( 'Next attempt', 'wp-gears' ),
				);
			}

			protected function get_default_primary_column_name() {
				return 'hook';
			}

			protected function get_bulk_actions() {
				return self::FAILED !== $this->view() ? array() : array(
					WP_Gears_Screen::RETRY  => __( 'Retry', 'wp-gears' ),
					WP_Gears_Screen::FORGET => __( 'Delete', 'wp-gears' ),
				);
			}

			/** One of the buttons for all jobs that match, or what WordPress offers for the selected ones. */
			public function current_action() {
				foreach ( array( WP_Gears_Screen::RETRY, WP_Gears_Screen::FORGET ) as $action ) {
					if ( isset( $_REQUEST['everything'] ) && $action === $_REQUEST['everything'] ) {
						return $action;
					}
				}
				return parent::current_action();
			}

			protected function get_views() {
				$blog  = WP_Gears_Screen::blog();
				$views = array(
					self::FAILED  => array( __( 'Failed', 'wp-gears' ), WP_Gears_Jobs::count( WP_Gears_Jobs::FAILED, $blog ) ),
					self::GROUPS  => array( __( 'By kind of failure', 'wp-gears' ), null ),
					self::RETRIES => array( __( 'Waiting for a retry', 'wp-gears' ), WP_Gears_Jobs::count( WP_Gears_Jobs::WAITS, $blog ) ),
				);
				foreach ( $views as $view => list( $label, $count ) ) {
					$is_current     = $view === $this->view();
					$views[ $view ] = sprintf(
						'<a href="%s"%s>%s%s</a>',
						esc_url( WP_Gears_Screen::url( array( 'view' => $view ) ) ),
						$is_current ? ' class="current" aria-current="page"' : '',
						esc_html( $label ),
						null === $count ? '' : ' <span class="count">(' . esc_html( number_format_i18n( $count ) ) . ')</span>'
					);
				}
				return $views;
			}

			public function prepare_items() {
				$offset = ( $this->get_pagenum() - 1 ) * self::PER_PAGE;
				if ( self::GROUPS === $this->view() ) {
					$groups      = WP_Gears_Jobs::groups( WP_Gears_Screen::filter() );
					$total       = count( $groups );
					$this->items = array_slice( $groups, $offset, self::PER_PAGE );
				} else {
					$state       = self::FAILED === $this->view() ? WP_Gears_Jobs::FAILED : WP_Gears_Jobs::WAITS;
					$found       = WP_Gears_Jobs::find( $state, WP_Gears_Screen::filter(), self::PER_PAGE, $offset );
					$total       = $found['total'];
					$this->items = $found['jobs'];
				}
				$this->set_pagination_args( array( 'total_items' => $total, 'per_page' => self::PER_PAGE ) );
			}

			public function no_items() {
				echo esc_html( self::RETRIES === $this->view() ? __( 'No job waits for a retry.', 'wp-gears' ) : __( 'No failed jobs.', 'wp-gears' ) );
			}

			protected function extra_tablenav( $which ) {
				// WordPress hides the upper ones on a narrow screen.
				if ( self::FAILED !== $this->view() || ! $this->has_items() ) {
					return;
				}
				$total = $this->get_pagination_arg( 'total_items' );
				$shown = number_format_i18n( $total );
				/* translators: %s: a number */
				$retry = sprintf( _n( 'Retry all %s', 'Retry all %s', $total, 'wp-gears' ), $shown );
				/* translators: %s: a number */
				$forget = sprintf( _n( 'Delete all %s', 'Delete all %s', $total, 'wp-gears' ), $shown );
				$ask    = esc_js( $forget . '?' );
				echo '<div class="alignleft actions">';
				printf( '<button type="submit" class="button" name="everything" value="%s">%s</button> ', esc_attr( WP_Gears_Screen::RETRY ), esc_html( $retry ) );
				printf( '<button type="submit" class="button" name="everything" value="%s" onclick="%s">%s</button>', esc_attr( WP_Gears_Screen::FORGET ), esc_attr( "return confirm( '$ask' );" ), esc_html( $forget ) );
				echo '</div>';
			}

			protected function column_cb( $job ) {
				/* translators: %s: a hook's name */
				$label = sprintf( __( 'Select the job %s', 'wp-gears' ), $job['hook'] );
				return sprintf( '<label class="screen-reader-text" for="cb-%1$s">%2$s</label><input id="cb-%1$s" type="checkbox" name="job[]" value="%3$s">', esc_attr( $job['id'] ), esc_html( $label ), esc_attr( $job['token'] ) );
			}

			protected function column_hook( $job ) {
				// WordPress folds all other columns on a narrow screen.
				$error = '<span class="wp-gears-narrow">' . esc_html( WP_Gears_Jobs::shorten( $job['error'], 120 ) ) . '</span>';
				$hook  = '<strong>' . esc_html( '' === $job['hook'] ? '–' : $job['hook'] ) . '</strong>' . $error;
				if ( self::GROUPS === $this->view() ) {
					$url = WP_Gears_Screen::url( array( 's' => rawurlencode( $job['hook'] ) ) );
					return $hook . $this->row_actions( array( 'show' => sprintf( '<a href="%s">%s</a>', esc_url( $url ), esc_html__( 'Show these jobs', 'wp-gears' ) ) ) );
				}
				if ( is_network_admin() && $job['blog'] ) {
					$site  = get_site( $job['blog'] );
					$hook .= '<br>' . esc_html( $site ? untrailingslashit( $site->domain . $site->path ) : '#' . $job['blog'] );
				}
				if ( self::FAILED !== $this->view() ) {
					return $hook;
				}
				$actions = array();
				foreach ( $this->get_bulk_actions() as $action => $label ) {
					$url = WP_Gears_Screen::url(
						array(
							'action'   => $action,
							'job[]'    => rawurlencode( $job['token'] ),
							'_wpnonce' => wp_create_nonce( 'bulk-' . WP_Gears_Screen::SLUG ),
							's'        => rawurlencode( WP_Gears_Screen::search() ),
						)
					);
					$name               = WP_Gears_Screen::FORGET === $action
						/* translators: %s: a hook's name */
						? sprintf( __( 'Delete the job %s', 'wp-gears' ), $job['hook'] )
						/* translators: %s: a hook's name */
						: sprintf( __( 'Retry the job %s', 'wp-gears' ), $job['hook'] );
					$key                = WP_Gears_Screen::FORGET === $action ? 'delete' : $action;
					$actions[ $key ]    = sprintf( '<a href="%s" aria-label="%s">%s</a>', esc_url( $url ), esc_attr( $name ), esc_html( $label ) );
				}
				return $hook . $this->row_actions( $actions );
			}

			protected function column_error( $job ) {
				$error = '<span class="wp-gears-error">' . esc_html( WP_Gears_Jobs::shorten( $job['error'], 400 ) ) . '</span>';
				if ( empty( $job['tries'] ) || count( $job['tries'] ) < 2 && strlen( $job['error'] ) <= 400 ) {
					return $error;
				}
				$tries = '';
				foreach ( $job['tries'] as $try ) {
					/* translators: 1: date and time, 2: a number of milliseconds */
					$when   = sprintf( __( '%1$s, %2$s ms', 'wp-gears' ), self::date( $try['at'] ), number_format_i18n( $try['ms'] ) );
					$tries .= '<li>' . esc_html( $when ) . '<br><span class="wp-gears-error">' . esc_html( WP_Gears_Jobs::shorten( $try['error'], 4000 ) ) . '</span></li>';
				}
				return $error . '<details><summary>' . esc_html__( 'All attempts', 'wp-gears' ) . "</summary><ol>$tries</ol></details>";
			}

			protected function column_tries( $job ) {
				return esc_html( number_format_i18n( count( $job['tries'] ) ) );
			}

			protected function column_count( $group ) {
				return esc_html( number_format_i18n( $group['count'] ) );
			}

			protected function column_at( $job ) {
				$ms  = self::GROUPS === $this->view() ? $job['latest'] : ( self::RETRIES === $this->view() ? $job['due'] : $job['at'] );
				$is  = (int) ( $ms / 1000 );
				$now = time();
				/* translators: %s: a period of time */
				$text = sprintf( $is > $now ? __( 'in %s', 'wp-gears' ) : __( '%s ago', 'wp-gears' ), human_time_diff( $is, $now ) );
				return sprintf( '<abbr title="%s">%s</abbr>', esc_attr( self::date( $ms ) ), esc_html( $text ) );
			}

			/** In the site's time zone. */
			private static function date( $ms ) {
				$utc = gmdate( 'Y-m-d H:i:s', (int) ( $ms / 1000 ) );
				return get_date_from_gmt( $utc, get_option( 'date_format' ) . ' ' . get_option( 'time_format' ) );
			}
		};
	}
}
