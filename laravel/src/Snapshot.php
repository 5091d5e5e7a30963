<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Database\Eloquent\Model;
use JsonSerializable;

/**
 * The data of a model at one moment, for a broadcast that is sent later.
 */
final class Snapshot implements JsonSerializable
{
    /** @var mixed */
    private $key;

    /** @var mixed */
    private $data;

    public function __construct(Model $model)
    {
        $this->key = $model->getKey();
        $this->data = Event::frozen($model);
    }

    /**
     * @return mixed
     */
    public function getKey()
    {
        return $this->key;
    }

    /**
     * @return mixed
     */
    #[\ReturnTypeWillChange]
    public function jsonSerialize()
    {
        return $this->data;
    }
}
