<?php

namespace App\Enums;

/** For PHP 8.1 and newer; nothing else loads it. */
enum Mood
{
    case Calm;
}
