<?php

return ['driver' => 'array', 'lifetime' => 120, 'cookie' => 'desk', 'path' => '/', 'domain' => null, 'secure' => null, 'same_site' => 'lax'];
