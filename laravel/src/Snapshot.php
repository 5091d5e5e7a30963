<?php

declare(strict_types=1);

namespace PwdEdge\Laravel;

use Illuminate\Database\Eloquent\Model;
use JsonSerializable;

/**
 * The data of a model at one moment, for a broadcast that is sent later. The users whom
 * the model names are those at the time of the broadcast.
 */
final class Snapshot implements JsonSerializable
{
    private Model $model;

    /** @var mixed */
    private $key;

    /** @var mixed */
    private $data;

    public function __construct(Model $model)
    {
        $this->model = $model;
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
     * @return iterable<mixed>
     */
    public function broadcastTo(): iterable
    {
        return Recipients::namedBy($this->model);
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
