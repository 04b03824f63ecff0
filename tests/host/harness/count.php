<?php
// A must-use plugin of the tests: each job leaves a line that can be counted.
add_action('test_job', function ($args) {
    if (!empty($args['sleep'])) {
        usleep((int) ($args['sleep'] * 1e6));
    }
    file_put_contents('/srv/jobs/done', $args['n'] . ' ' . getmypid() . "\n", FILE_APPEND | LOCK_EX);
});
