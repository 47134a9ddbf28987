/** `--import` of a process whose host's clock is wrong by HELVINO_TEST_SKEW milliseconds. */
const shift = Number(process.env.HELVINO_TEST_SKEW);
const RightDate = Date;

globalThis.Date = new Proxy(RightDate, {
  construct: (target, args: [], newTarget) =>
    Reflect.construct(target, args.length === 0 ? [RightDate.now() + shift] : args, newTarget) as Date,
  get: (target, name, receiver) =>
    name === 'now' ? () => RightDate.now() + shift : Reflect.get(target, name, receiver),
});
