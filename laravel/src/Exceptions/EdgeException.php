<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Exceptions;

use RuntimeException;

/**
 * A failed call to the edge. The message is the cause, in the form of a log line.
 * Callers distinguish the subclasses.
 */
abstract class EdgeException extends RuntimeException
{
}
