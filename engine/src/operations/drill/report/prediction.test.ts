import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type DrillMeasure, measureOf, predictionError, predictRecovery } from './prediction.ts';
import { testReport } from './report-fixture.ts';

const GiB = 2 ** 30;

/** A host: 5 s fixed, 100 MiB/s restored, 40 MiB/s of WAL replayed after 2 s of starting. */
function drillOf(gib: number, { wal = 0, factor = 1 } = {}): DrillMeasure {
  const restoreSeconds = ((gib * GiB) / (100 * 2 ** 20)) * factor;
  const recoverSeconds = (2 + wal / (40 * 2 ** 20)) * factor;
  return {
    id: String(gib),
    seconds: 5 + restoreSeconds + recoverSeconds,
    bytes: gib * GiB,
    restoreSeconds,
    recoverSeconds,
    walBytes: wal,
  };
}

const near = (found: number, wanted: number, part: number) =>
  assert.ok(Math.abs(found - wanted) <= wanted * part, `${found} is not near ${wanted}`);

test('no drill – no prediction', () => {
  assert.equal(predictRecovery([], { bytes: GiB }), undefined);
});

test('one drill – in proportion to the size; less data is never predicted at less than its share', () => {
  const one = predictRecovery([drillOf(10)], { bytes: 20 * GiB })!;
  near(one.rtoSeconds, drillOf(20).seconds, 0.05);
  assert.deepEqual([one.drills, one.errorPercent, one.rangeSeconds], [1, undefined, undefined]);
  assert.match(one.basis, /one drill of 10\.0 GiB/);
});

test('drills of different sizes – predicts the disaster of a size that none had, with the WAL it would replay', () => {
  const drills = [
    drillOf(10, { wal: GiB }),
    drillOf(14),
    drillOf(22, { wal: 3 * GiB }),
    drillOf(30, { wal: 2 * GiB }),
  ];
  const wal = 8 * GiB;
  const made = predictRecovery(drills, { bytes: 200 * GiB, walBytes: wal })!;
  near(made.rtoSeconds, drillOf(200, { wal }).seconds, 0.05);
  near(made.bytesPerSecond, 100 * 2 ** 20, 0.05);
  assert.match(made.basis, /far beyond/);
});

test('a slow network between repository and host – decides', () => {
  const made = predictRecovery([drillOf(10), drillOf(20)], {
    bytes: 100 * GiB,
    bandwidth: { bytesPerSecond: 10 * 2 ** 20, stored: 50 * GiB },
  })!;
  near(made.parts.restore, (50 * GiB) / (10 * 2 ** 20), 0.001);
  assert.match(made.basis, /network of 10\.0 MiB\/s/);
});

test('one odd drill among many – hardly turns the prediction; the error says so', () => {
  const drills = [drillOf(10), drillOf(10), drillOf(10, { factor: 5 }), drillOf(10), drillOf(10)];
  const made = predictRecovery(drills, { bytes: 10 * GiB })!;
  near(made.rtoSeconds, drillOf(10).seconds, 0.02);
  assert.ok(made.errorPercent! >= 50);
  assert.ok(made.rangeSeconds![1] > made.rtoSeconds * 1.5);
});

test('a drill that took twenty times what was predicted – the range goes as far', () => {
  const made = predictRecovery([drillOf(10), drillOf(10, { factor: 20 })], { bytes: 10 * GiB })!;
  const [, off] = [drillOf(10).seconds, drillOf(10, { factor: 20 }).seconds / drillOf(10).seconds];
  near(made.rangeSeconds![1], made.rtoSeconds * off, 0.01);
  near(made.rangeSeconds![0], made.rtoSeconds / off, 0.01);
});

test('a prediction before the next drill – its error is what the drill measured against it', () => {
  assert.equal(predictionError(150, 100), 0.5);
  assert.equal(predictionError(80, 100), -0.2);
});

test('sizes that explain nothing – more data is never predicted faster than measured', () => {
  const noise = [drillOf(10, { factor: 2 }), drillOf(20, { factor: 0.4 }), drillOf(30, { factor: 0.3 })];
  const made = predictRecovery(noise, { bytes: 300 * GiB })!;
  assert.ok(made.rtoSeconds > 3 * Math.max(...noise.map(({ seconds }) => seconds)));
});

test('for any drills – finite, more than nothing, and not less for more data', () => {
  const measure = fc
    .record({
      gib: fc.double({ min: 0.001, max: 500, noNaN: true }),
      factor: fc.double({ min: 0.1, max: 10, noNaN: true }),
      wal: fc.nat(2 ** 31),
    })
    .map(({ gib, ...rest }) => drillOf(gib, rest));
  fc.assert(
    fc.property(
      fc.array(measure, { minLength: 1, maxLength: 15 }),
      fc.double({ min: 0.001, max: 5000, noNaN: true }),
      (drills, gib) => {
        const made = predictRecovery(drills, { bytes: gib * GiB })!;
        const more = predictRecovery(drills, { bytes: gib * 2 * GiB })!;
        assert.ok(Number.isFinite(made.rtoSeconds) && made.rtoSeconds > 0);
        assert.ok(more.rtoSeconds >= made.rtoSeconds * 0.999);
      },
    ),
  );
});

test('records – phases where there are, checks of older ones; a drill that never answered measures nothing', () => {
  const old = measureOf(testReport())!;
  assert.deepEqual(
    [old.seconds, old.restoreSeconds, old.recoverSeconds, old.walBytes],
    [455.1, 412.4, 38.2, undefined],
  );
  const phases = [
    { name: 'restore', seconds: 400, bytes: 9 },
    { name: 'recover', seconds: 50, bytes: 0 },
  ] as const;
  const full = measureOf(testReport({ phases, measured: { rtoSeconds: 470, walBytes: 77 } }))!;
  assert.deepEqual(
    [full.seconds, full.restoreSeconds, full.recoverSeconds, full.walBytes],
    [470, 400, 50, 77],
  );
  assert.equal(measureOf(testReport({ recoverySeconds: undefined })), undefined);
  // The database answered, the application did not.
  assert.equal(measureOf(testReport({ measured: { bytesRead: 1 } })), undefined);
});
