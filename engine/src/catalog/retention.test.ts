import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { forecast } from './forecast.ts';
import { planRetention } from './retention.ts';
import type { Decision, KindSituation, RetentionBackup, RetentionPolicy } from './retention-types.ts';

const dayMs = 86_400_000;
const guide: RetentionPolicy = {
  keep: { withinMs: 7 * dayMs, daily: 30, weekly: 12, monthly: 12, yearly: 7, deployments: 1 },
  minimum: 3,
  timeZone: 'UTC',
  deployLabel: 'pre-deploy',
  pitrMs: 14 * dayMs,
};
const now = new Date('2026-11-25T12:00:00Z');

function situation(
  overrides: Partial<KindSituation> & { keep?: RetentionPolicy['keep'] } = {},
): KindSituation {
  const { keep, ...rest } = overrides;
  return { now, trouble: [], logOf: new Map(), policy: keep ? { ...guide, keep } : guide, ...rest };
}

function made(time: string, more: Partial<RetentionBackup> = {}): RetentionBackup {
  const at = new Date(time);
  return {
    id: time,
    kind: 'physical',
    made: at,
    committed: at,
    state: 'good',
    holds: [],
    timeline: 1,
    packs: [{ id: time, size: 100 }],
    ...more,
  };
}

/** One line a backup: what a user reads. */
function lines(decisions: readonly Decision[]): string[] {
  return decisions.map(
    ({ id, action, reasons }) =>
      `${id.slice(0, 13)} ${action}: ${reasons.map(({ rule, detail }) => `${rule} (${detail})`).join(', ')}`,
  );
}

function kept(decisions: readonly Decision[]): string[] {
  return decisions.filter(({ action }) => action === 'keep').map(({ id }) => id);
}

/** At 02:00 UTC on `count` days, the last of them today. */
function nightly(
  count: number,
  more: (daysAgo: number) => Partial<RetentionBackup> = () => ({}),
): RetentionBackup[] {
  return Array.from({ length: count }, (_, i) => {
    const daysAgo = count - 1 - i;
    return made(new Date(Date.UTC(2026, 10, 25 - daysAgo, 2)).toISOString(), more(daysAgo));
  });
}

test('the table of the guide on backups of all ages – golden', () => {
  const backups = [
    made('2018-12-31T02:00:00Z'),
    made('2019-01-01T02:00:00Z'),
    made('2019-06-01T02:00:00Z'),
    made('2025-10-31T02:00:00Z'),
    made('2025-11-01T02:00:00Z'),
    made('2025-11-02T02:00:00Z'),
    made('2026-08-31T02:00:00Z'),
    made('2026-09-01T02:00:00Z'),
    made('2026-10-25T02:00:00Z'),
    made('2026-10-26T02:00:00Z'),
    made('2026-10-26T14:00:00Z'),
    made('2026-11-20T02:00:00Z', { label: 'pre-deploy' }),
    made('2026-11-21T02:00:00Z', { label: 'pre-deploy-1.5', state: 'failed' }),
    made('2026-11-24T02:00:00Z'),
    made('2026-11-25T02:00:00Z'),
  ];
  assert.deepEqual(lines(planRetention(backups, situation())), [
    '2018-12-31T02 remove: no rule (2018-12-31 is more than 30 days ago; 2019-W01 is more than 12 weeks ago; 2018-12 is more than 12 months ago; 2018 is more than 7 years ago)',
    '2019-01-01T02 keep: yearly (2019 of 7 years)',
    '2019-06-01T02 remove: no rule (2019-06-01 is more than 30 days ago; 2019-W22 is more than 12 weeks ago; 2019-06 is more than 12 months ago; 2019 has 2019-01-01T02:00:00Z)',
    '2025-10-31T02 keep: yearly (2025 of 7 years)',
    '2025-11-01T02 keep: monthly (2025-11 of 12 months)',
    '2025-11-02T02 remove: no rule (2025-11-02 is more than 30 days ago; 2025-W44 is more than 12 weeks ago; 2025-11 has 2025-11-01T02:00:00Z; 2025 has 2025-10-31T02:00:00Z)',
    '2026-08-31T02 keep: weekly (2026-W36 of 12 weeks), monthly (2026-08 of 12 months), yearly (2026 of 7 years)',
    '2026-09-01T02 keep: monthly (2026-09 of 12 months)',
    '2026-10-25T02 keep: weekly (2026-W43 of 12 weeks), monthly (2026-10 of 12 months)',
    '2026-10-26T02 keep: daily (2026-10-26 of 30 days), weekly (2026-W44 of 12 weeks)',
    '2026-10-26T14 remove: no rule (2026-10-26 has 2026-10-26T02:00:00Z; 2026-W44 has 2026-10-26T02:00:00Z; 2026-10 has 2026-10-25T02:00:00Z; 2026 has 2026-08-31T02:00:00Z)',
    '2026-11-20T02 keep: minimum (one of the newest 3 good ones), deployment (made before a deployment, until the next), within (stored in the last 7 days), daily (2026-11-20 of 30 days), weekly (2026-W47 of 12 weeks), monthly (2026-11 of 12 months)',
    '2026-11-21T02 keep: within (stored in the last 7 days)',
    '2026-11-24T02 keep: minimum (one of the newest 3 good ones), within (stored in the last 7 days), daily (2026-11-24 of 30 days), weekly (2026-W48 of 12 weeks)',
    '2026-11-25T02 keep: minimum (one of the newest 3 good ones), within (stored in the last 7 days), daily (2026-11-25 of 30 days)',
  ]);
});

test('backups fail – nothing is removed, however old, and the reason says why', () => {
  const plan = planRetention([made('2001-01-01T00:00:00Z'), made('2026-11-01T00:00:00Z')], {
    ...situation(),
    trouble: ['the newest backup is 24 d old, the objective is 36 h'],
  });
  assert.deepEqual(kept(plan).length, 2);
  assert.deepEqual(plan[0]!.reasons[0], {
    rule: 'backups fail',
    detail: 'nothing is removed while the newest backup is 24 d old, the objective is 36 h',
  });
});

test('the last that a drill has proven is old – it stays until a newer one is proven; partly proven only without any', () => {
  const old = made('2020-03-03T00:00:00Z', { proof: 'proven' });
  const fresh = nightly(40, (ago) => (ago === 20 ? { proof: 'partly proven' } : {}));
  const only = { keep: { last: 2 } };
  const plan = planRetention([old, ...fresh], situation(only));
  assert.deepEqual(
    plan[0]!.reasons.map(({ rule }) => rule),
    ['last proven'],
  );
  assert.equal(kept(plan).length, 4);
  const later = planRetention(
    [old, ...nightly(40, (ago) => (ago === 20 ? { proof: 'proven' } : {}))],
    situation(only),
  );
  assert.equal(later[0]!.action, 'remove');
  assert.equal(later.find(({ id }) => id === fresh[19]!.id)!.reasons[0]!.rule, 'last proven');
});

test('held, unreadable, from the future – kept whatever the rules; a failed one only takes no place', () => {
  const plan = planRetention(
    [
      made('2010-01-01T00:00:00Z', { holds: ['case 4711'] }),
      made('2010-01-02T00:00:00Z', { state: 'unreadable' }),
      made('2010-01-03T00:00:00Z', { state: 'failed' }),
      made('2010-01-04T00:00:00Z', { committed: new Date('2027-01-01T00:00:00Z') }),
      ...nightly(5),
    ],
    situation({ keep: { last: 1 } }),
  );
  assert.deepEqual(
    plan.slice(0, 4).map(({ action, reasons }) => [action, reasons[0]!.rule]),
    [
      ['keep', 'hold'],
      ['keep', 'unreadable'],
      ['remove', 'no rule'],
      ['keep', 'future'],
    ],
  );
  assert.equal(plan[2]!.reasons[0]!.detail, 'its newest drill failed, so it takes no place');
});

test('fewer good ones than the minimum – failed ones stay, too', () => {
  const plan = planRetention(
    [
      made('2026-01-01T00:00:00Z', { state: 'failed' }),
      made('2026-01-02T00:00:00Z'),
      made('2026-01-03T00:00:00Z'),
    ],
    situation({ keep: { last: 1 } }),
  );
  assert.deepEqual(kept(plan).length, 3);
});

test('a period – its first backup keeps the place against any number that are added later, unless one is proven', () => {
  const first = made('2026-09-10T02:00:00Z');
  // Dated into the same month and year, but stored only now: within the last days, yet no rival.
  const forged = Array.from({ length: 20 }, (_, i) =>
    made(`2026-09-01T00:00:${String(i).padStart(2, '0')}Z`, {
      committed: new Date(now.getTime() - 9 * dayMs),
    }),
  );
  const plan = planRetention([first, ...forged, ...nightly(5)], situation());
  const decision = plan.find(({ id }) => id === first.id)!;
  assert.deepEqual(
    decision.reasons.map(({ rule }) => rule),
    ['weekly', 'monthly', 'yearly'],
  );
  const proven = made('2026-09-12T02:00:00Z', { proof: 'proven' });
  const after = planRetention([first, proven, ...nightly(5)], situation());
  assert.equal(after.find(({ id }) => id === first.id)!.action, 'remove');
  assert.match(
    after.find(({ id }) => id === first.id)!.reasons[0]!.detail,
    /2026-09 has 2026-09-12T02:00:00Z/,
  );
});

test('days in a time zone – a backup at 23:30 UTC belongs to the next day in Berlin', () => {
  const backups = [made('2026-11-01T23:30:00Z'), made('2026-11-02T12:00:00Z'), ...nightly(3)];
  const daily = { keep: { daily: 30 } };
  assert.equal(kept(planRetention(backups, situation(daily))).length, 5);
  const berlin = situation(daily);
  const plan = planRetention(backups, { ...berlin, policy: { ...berlin.policy, timeZone: 'Europe/Berlin' } });
  assert.equal(plan[1]!.reasons[0]!.detail, '2026-11-02 has 2026-11-01T23:30:00Z');
});

test('recovery window – the newest backup before it stays, of each timeline with WAL in it; without WAL there is none', () => {
  const backups = nightly(40, (ago) => ({ timeline: ago > 30 ? 1 : 2 }));
  const last = { keep: { last: 1 } };
  const none = planRetention(backups, situation(last));
  assert.equal(kept(none).length, 3);
  const logOf = new Map([
    [1, new Date('2026-11-20T00:00:00Z')],
    [2, now],
  ]);
  const plan = planRetention(backups, { ...situation(last), logOf });
  const window = plan.filter(({ reasons }) => reasons.some(({ rule }) => rule === 'recovery window'));
  // Timeline 1 ended 31 days ago; WAL of it was stored five days ago.
  assert.deepEqual(
    window.map(({ id }) => id.slice(0, 10)),
    ['2026-10-25', '2026-11-11'],
  );
  const settled = planRetention(backups, {
    ...situation(last),
    logOf: new Map([
      [1, new Date('2026-10-25T03:00:00Z')],
      [2, now],
    ]),
  });
  assert.equal(kept(settled).length, 4);
});

test('a size limit – the oldest go first, shared packs count once, protected ones stay', () => {
  const shared = { id: 'shared', size: 1000 };
  const backups = nightly(10, (ago) => ({
    packs: [shared, { id: `own ${ago}`, size: 100 }],
    holds: ago === 9 ? ['case'] : [],
  }));
  const base = situation();
  const plan = planRetention(backups, { ...base, policy: { ...guide, maxBytes: 1650 } });
  // The limit leaves room for six: the held one and the newest five.
  assert.deepEqual(
    kept(plan).map((id) => id.slice(8, 10)),
    ['16', '21', '22', '23', '24', '25'],
  );
  assert.equal(plan[1]!.reasons[0]!.detail, 'what is kept takes 1.95 KiB, the limit is 1.61 KiB');
  const tiny = planRetention(backups, { ...base, policy: { ...guide, maxBytes: 1 } });
  assert.deepEqual(kept(tiny).length, 4);
});

const anyBackup = fc.record({
  ago: fc.integer({ min: 0, max: 4000 }),
  state: fc.constantFrom('good', 'good', 'good', 'failed', 'unreadable'),
  proof: fc.constantFrom(undefined, undefined, 'proven', 'partly proven'),
  held: fc.integer({ min: 0, max: 9 }),
  label: fc.constantFrom(undefined, undefined, 'pre-deploy'),
  size: fc.integer({ min: 1, max: 1000 }),
});
const anyPolicy = fc.record({
  last: fc.option(fc.integer({ min: 1, max: 5 }), { nil: undefined }),
  daily: fc.option(fc.integer({ min: 1, max: 40 }), { nil: undefined }),
  yearly: fc.option(fc.integer({ min: 1, max: 7 }), { nil: undefined }),
  minimum: fc.integer({ min: 1, max: 5 }),
  maxBytes: fc.option(fc.integer({ min: 1, max: 5000 }), { nil: undefined }),
});

test('any backups and any policy – the promises hold, and a plan that was applied leaves nothing to do', () => {
  fc.assert(
    fc.property(
      fc.array(anyBackup, { maxLength: 60 }),
      anyPolicy,
      (drawn, { minimum, maxBytes, ...keep }) => {
        const backups = drawn.map(({ ago, state, proof, held, label, size }, i) => {
          const id = `b${String(i).padStart(3, '0')}`;
          const at = new Date(now.getTime() - ago * 3_600_000 * 11 - i);
          return made(at.toISOString(), {
            id,
            state: state as RetentionBackup['state'],
            proof: state === 'good' ? (proof as RetentionBackup['proof']) : undefined,
            holds: held === 0 ? ['case'] : [],
            label,
            packs: [{ id, size }],
          });
        });
        const where = {
          ...situation(),
          logOf: new Map([[1, now]]),
          policy: { ...guide, keep, minimum, maxBytes },
        };
        const plan = planRetention(backups, where);
        const stay = new Set(kept(plan));
        const good = backups.filter(({ state }) => state === 'good');
        const left = good.filter(({ id }) => stay.has(id));
        assert.ok(left.length >= Math.min(minimum, good.length));
        if (good.some(({ proof }) => proof === 'proven'))
          assert.ok(left.some(({ proof }) => proof === 'proven'));
        for (const { id, state, holds } of backups)
          if (holds.length > 0 || state === 'unreadable') assert.ok(stay.has(id));
        const start = now.getTime() - guide.pitrMs;
        if (good.some(({ made: at }) => at.getTime() <= start))
          assert.ok(left.some(({ made: at }) => at.getTime() <= start));
        assert.ok(plan.every(({ reasons }) => reasons.length > 0));
        const again = planRetention(
          backups.filter(({ id }) => stay.has(id)),
          where,
        );
        assert.deepEqual(kept(again).length, stay.size);
      },
    ),
    { numRuns: 300 },
  );
});

test('ten years of nightly backups, a plan each day – in seconds, never below what the table promises, never above', () => {
  const begun = performance.now();
  let present: RetentionBackup[] = [];
  let most = 0;
  for (let day = 0; day < 3650; day++) {
    const on = new Date(Date.UTC(2026, 0, 1 + day, 2, 30));
    present.push(made(new Date(on.getTime() - 1_800_000).toISOString()));
    const plan = planRetention(present, situation({ now: on, logOf: new Map([[1, on]]) }));
    const stay = new Set(kept(plan));
    present = present.filter(({ id }) => stay.has(id));
    most = Math.max(most, present.length);
    for (const [least, daysBack] of [
      [31, 30],
      [40, 84],
      [48, 365],
      [52, 2555],
    ] as const) {
      if (day <= daysBack) continue;
      assert.ok(present.length >= least, `day ${day}: ${present.length}`);
      assert.ok(
        present[0]!.made.getTime() < on.getTime() - daysBack * dayMs,
        `day ${day}: not back far enough`,
      );
    }
  }
  // 31 days, 9 to 10 weeks and 9 to 12 months before them, 6 to 8 years: no more than that.
  assert.ok(most <= 31 + 10 + 12 + 8, `${most}`);
  const years = new Set(present.map(({ made: at }) => at.getUTCFullYear()));
  assert.deepEqual([...years].sort(), [2028, 2029, 2030, 2031, 2032, 2033, 2034, 2035]);
  const seconds = (performance.now() - begun) / 1000;
  // On a machine that does nothing else it is about one second.
  assert.ok(seconds < 60, `${seconds} s`);
});

test('a forecast – says on which day each backup of today goes, and how many there will be', () => {
  const today = nightly(30);
  const { policy } = situation();
  const until = new Date(now.getTime() + 400 * dayMs);
  const months = forecast(today, { policy, now, until, logOf: new Map() });
  assert.equal(months.length, 14);
  assert.deepEqual([months[0]!.month, months.at(-1)!.month], ['2026-11', '2027-12']);
  const going = new Map(
    months.flatMap(({ removed }) =>
      removed.map(({ id, on }) => [id.slice(0, 10), on.toISOString().slice(0, 10)]),
    ),
  );
  // An ordinary day: daily for 30 days. The first of a week: twelve weeks. The first of a month: a year.
  assert.equal(going.get('2026-11-12'), '2026-12-13');
  assert.equal(going.get('2026-11-09'), '2027-02-08');
  assert.equal(going.get('2026-11-01'), '2027-12-01');
  assert.equal(going.has('2026-10-27'), false, 'the first of a year stays for seven');
  assert.ok(months.at(-1)!.kept > 45 && months.at(-1)!.kept < 60, `${months.at(-1)!.kept}`);
  assert.equal(months.at(-1)!.bytes, months.at(-1)!.kept * 100);
});
