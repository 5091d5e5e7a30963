<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Exceptions;

use RuntimeException;

/**
 * A call to the edge that did not succeed. Its message is the cause, ready for
 * a log line; its subclasses are what callers branch on.
 */
abstract class EdgeException extends RuntimeException
{
}
