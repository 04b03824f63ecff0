<?php
/**
 * The job that the plugin and the hooks see. The worker outside of PHP has taken it from Gearman, so whatever it answers
 * goes to that worker.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

class WP_Gears_Job extends GearmanJob {
	private $wp_gears;

	public function __construct( array $job ) {
		$this->wp_gears = $job;
	}

	public function __destruct() {
	}

	public function workload(): string {
		return $this->wp_gears['workload'];
	}

	public function workloadSize(): int {
		return strlen( $this->wp_gears['workload'] );
	}

	public function handle(): string {
		return $this->wp_gears['handle'];
	}

	public function unique(): string {
		return $this->wp_gears['unique'];
	}

	public function functionName(): string {
		return $this->wp_gears['function'];
	}

	public function returnCode(): int {
		return 0; // GEARMAN_SUCCESS
	}

	public function setReturn( $gearman_return_t ): bool {
		return true;
	}

	/** The job server's job, for a runner by hand. */
	private function from() {
		return isset( $this->wp_gears['from'] ) ? $this->wp_gears['from'] : null;
	}

	public function sendStatus( $numerator, $denominator ): bool {
		if ( $this->from() ) {
			return $this->from()->sendStatus( $numerator, $denominator );
		}
		WP_Gears_Runner::send( array( 'status' => array( (int) $numerator, (int) $denominator ) ) );
		return true;
	}

	public function sendData( $data ): bool {
		if ( $this->from() ) {
			return $this->from()->sendData( $data );
		}
		WP_Gears_Runner::send( array( 'data' => bin2hex( $data ) ) );
		return true;
	}

	public function sendWarning( $warning ): bool {
		if ( $this->from() ) {
			return $this->from()->sendWarning( $warning );
		}
		WP_Gears_Runner::send( array( 'warning' => bin2hex( $warning ) ) );
		return true;
	}

	public function sendComplete( $result ): bool {
		return true; // The worker reports it once the job is over.
	}

	public function sendException( $exception ): bool {
		return true;
	}

	public function sendFail(): bool {
		return true;
	}
}
