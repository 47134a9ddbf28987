/**
 * `map`, on up to `concurrency` items at a time; results come in the order of the items.
 *
 * - Bounded: never more than `concurrency` items are taken from the source and not yet handed on.
 * - A result is handed on as soon as those before it were, also while the source is slow to give the next item.
 * - The first failure (of `map` or of the source), in order of items, is thrown after the results before it. From the
 *   moment of a failure no further item is started.
 * - It ends (at the end, by failure, or when the consumer stops early) only once nothing that it started is still running
 *   and the source has been told to stop.
 */
export async function* mapParallel<Item, Result>(
  items: Iterable<Item> | AsyncIterable<Item>,
  concurrency: number,
  map: (item: Item, index: number) => Promise<Result> | Result,
): AsyncGenerator<Result, void, void> {
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw new RangeError(`concurrency is ${concurrency}, not a whole number above 0`);
  }
  const source = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  const running: Promise<Result>[] = [];
  let started = 0;
  let stop = false;
  let ended = false;
  let pull: Promise<void> | undefined;

  const run = (work: () => Promise<Result> | Result) => {
    const result = (async () => work())();
    result.catch(() => {
      stop = true;
    });
    running.push(result);
  };
  const takeNext = async () => {
    // A source that throws at once must not settle this before the caller has its promise.
    await null;
    try {
      const next = await source.next();
      if (next.done) ended = true;
      else if (!stop) run(() => map(next.value, started++));
    } catch (failure) {
      ended = true;
      run(() => Promise.reject(failure));
    }
    pull = undefined;
  };

  try {
    for (;;) {
      if (!ended && !stop && pull === undefined && running.length < concurrency) pull = takeNext();
      const first = running[0];
      if (first === undefined && pull === undefined) return;
      const taken = pull?.then(() => 'taken' as const);
      const done = first?.then(isDone, isDone);
      if ((await Promise.race([taken, done].filter((wait) => wait !== undefined))) === 'taken') continue;
      const result = await running[0]!;
      void running.shift();
      yield result;
    }
  } finally {
    stop = true;
    await pull;
    await Promise.allSettled(running);
    if (!ended) await source.return?.();
  }
}

const isDone = () => 'done' as const;
