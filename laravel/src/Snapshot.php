<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Database\Eloquent\Model;
use JsonSerializable;

/**
 * What a model said of itself at one moment, for a broadcast that leaves later.
 */
final class Snapshot implements JsonSerializable
{
    /** @var mixed */
    private $key;

    /** @var array<string, mixed> */
    private array $said;

    public function __construct(Model $model)
    {
        $this->key = $model->getKey();
        $this->said = $model->toArray();
    }

    /**
     * @return mixed
     */
    public function getKey()
    {
        return $this->key;
    }

    /**
     * @return array<string, mixed>
     */
    public function jsonSerialize(): array
    {
        return $this->said;
    }
}
