<?php
/**
 * How long jobs wait, from what the workers record in the site's run folder. See src/worker/figures.
 */

if ( ! defined( 'ABSPATH' ) ) {
	exit;
}

final class WP_Gears_Figures {
	/** @return array|null p50 and p95 of the last hour, in milliseconds; null if they are not known. */
	public static function waits() {
		return null;
	}

	/** @return int|null For how many seconds the oldest waiting job has waited, at most; null if it is not known. */
	public static function oldest() {
		return null;
	}
}
