<?php

// The cheapest: a test logs in often.
return ['driver' => 'bcrypt', 'bcrypt' => ['rounds' => 4]];
