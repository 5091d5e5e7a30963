<?php

declare(strict_types=1);

namespace PwdEdge\Laravel\Exceptions;

/**
 * The edge rejected the call, or its response is invalid.
 */
final class EdgeRejected extends EdgeException
{
    private int $status;

    private string $errorCode;

    private ?int $index;

    private ?string $pointer;

    public function __construct(int $status, string $errorCode, string $reason, ?int $index = null, ?string $pointer = null)
    {
        $this->status = $status;
        $this->errorCode = $errorCode;
        $this->index = $index;
        $this->pointer = $pointer;

        $where = ($index === null ? '' : ', event '.$index).($pointer === null ? '' : ', '.$pointer);

        parent::__construct(sprintf('the edge responded %d %s: %s%s', $status, $errorCode, $reason, $where), $status);
    }

    /**
     * @param  mixed  $body  the decoded JSON of the response, or null
     */
    public static function fromResponse(int $status, $body): self
    {
        $body = is_array($body) ? $body : [];

        return new self(
            $status,
            is_string($body['code'] ?? null) ? $body['code'] : 'unknown',
            is_string($body['message'] ?? null) ? $body['message'] : 'no reason given',
            is_int($body['index'] ?? null) ? $body['index'] : null,
            is_string($body['pointer'] ?? null) ? $body['pointer'] : null
        );
    }

    public static function invalidResponse(string $reason): self
    {
        return new self(0, 'protocol', $reason);
    }

    public function status(): int
    {
        return $this->status;
    }

    public function errorCode(): string
    {
        return $this->errorCode;
    }

    /** Returns the position of the invalid event in a batch, from 0. */
    public function index(): ?int
    {
        return $this->index;
    }

    /** Returns the JSON pointer to the invalid field of that event. */
    public function pointer(): ?string
    {
        return $this->pointer;
    }
}
