<?php
// An answer of 1 KiB, of which PHP itself costs next to nothing.
echo str_repeat('0123456789abcdef', 64);
