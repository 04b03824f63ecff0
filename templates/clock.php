<?php
/**
 * Gives the process of a job the times that it would have if it had only just booted.
 */

if ( ! defined( 'DOING_ASYNC' ) ) {
	http_response_code( 403 );
	exit;
}

/**
 * Times that the site took when it booted. A process that booted in advance may have waited for minutes, and code that
 * limits its own time would think that it has run for minutes. So when the job starts, such times move to just before
 * it, as if the process had only just booted.
 */
final class WP_Gears_Clock {
	/** How many values to look at. A site has some ten thousand. */
	const LIMIT = 200000;

	/** @var float When the boot was over. */
	private static $booted;
	/** @var float To when those times were moved. */
	private static $now;
	/** @var array[] Where those times are: object or class, property, class that declares it. */
	private static $places = array();

	/**
	 * Looks for numbers that can only be times of the boot: in global variables, static properties, and the properties of
	 * all objects that they lead to.
	 */
	public static function look() {
		self::$booted = microtime( true );
		self::$now    = self::$booted;
		self::$places = array();
		$seen         = new SplObjectStorage();
		$queue        = array();
		foreach ( $GLOBALS as $name => $value ) {
			if ( self::is_of_the_boot( $value ) ) {
				self::$places[] = array( null, $name, null );
			} elseif ( 'GLOBALS' !== $name && ( is_object( $value ) || is_array( $value ) ) ) {
				$queue[] = $value;
			}
		}
		foreach ( get_declared_classes() as $class ) {
			$reflection = new ReflectionClass( $class );
			if ( $reflection->isInternal() || 0 === strpos( $class, 'WP_Gears_' ) ) {
				continue;
			}
			try {
				$statics = $reflection->getStaticProperties();
			} catch ( Throwable $undefined ) {
				continue; // A constant in a default value.
			}
			foreach ( $statics as $name => $value ) {
				if ( self::is_of_the_boot( $value ) ) {
					self::$places[] = array( $class, $name, $class );
				} elseif ( is_object( $value ) || is_array( $value ) ) {
					$queue[] = $value;
				}
			}
		}
		// What is near comes first, and so is what hooks call.
		for ( $at = 0, $count = 0; isset( $queue[ $at ] ); $at++ ) {
			$holder       = $queue[ $at ];
			$queue[ $at ] = null;
			$object       = is_object( $holder ) ? $holder : null;
			if ( $object ) {
				if ( isset( $seen[ $object ] ) ) {
					continue;
				}
				$seen[ $object ] = true;
				if ( $object instanceof Closure ) {
					$function = new ReflectionFunction( $object );
					$queue[]  = array( $function->getClosureThis() );
					$queue[]  = $function->getStaticVariables(); // Those that it uses, too.
				}
				if ( ( new ReflectionObject( $object ) )->isInternal() ) {
					continue;
				}
			}
			foreach ( (array) $holder as $key => $value ) {
				if ( ++$count > self::LIMIT ) {
					return;
				}
				if ( is_object( $value ) || is_array( $value ) ) {
					$queue[] = $value;
				} elseif ( $object && self::is_of_the_boot( $value ) ) {
					// Names of private and protected properties are "\0class\0name" and "\0*\0name".
					$parts          = explode( "\0", (string) $key );
					$class          = isset( $parts[2] ) && '*' !== $parts[1] ? $parts[1] : get_class( $object );
					self::$places[] = array( $object, end( $parts ), $class );
				}
			}
		}
	}

	private static function is_of_the_boot( $value ) {
		$from = $_SERVER['REQUEST_TIME_FLOAT'];
		return ( is_float( $value ) && $value >= $from || is_int( $value ) && $value >= (int) $from ) && $value <= self::$booted;
	}

	/** Moves them to just before a job. */
	public static function set( $now ) {
		$later  = $now - self::$now;
		$whole  = (int) ( round( $now - self::$booted ) - round( self::$now - self::$booted ) );
		$places = self::$places;

		self::$now                     = $now;
		$_SERVER['REQUEST_TIME_FLOAT'] += $later;
		$_SERVER['REQUEST_TIME']       = (int) $_SERVER['REQUEST_TIME_FLOAT'];
		foreach ( $places as $place ) {
			list( $holder, $name, $class ) = $place;
			try {
				if ( null === $holder ) {
					$GLOBALS[ $name ] = self::moved( $GLOBALS[ $name ], $later, $whole );
				} elseif ( ! property_exists( $class, $name ) ) {
					$holder->$name = self::moved( $holder->$name, $later, $whole );
				} else {
					$property = new ReflectionProperty( $class, $name );
					if ( PHP_VERSION_ID < 80100 ) {
						$property->setAccessible( true );
					}
					if ( is_string( $holder ) ) {
						$property->setValue( null, self::moved( $property->getValue(), $later, $whole ) );
					} else {
						$property->setValue( $holder, self::moved( $property->getValue( $holder ), $later, $whole ) );
					}
				}
			} catch ( Throwable $readonly ) {
				continue;
			}
		}
	}

	/** $whole: by how much whole seconds move, so that many small moves add up to the right one. */
	private static function moved( $time, $later, $whole ) {
		return is_int( $time ) ? $time + $whole : $time + $later;
	}
}
