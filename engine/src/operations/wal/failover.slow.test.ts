import { test } from 'node:test';
import { failOverAndBack } from '../../../test/failover.ts';
import { testMajors } from '../../../test/pg-server.ts';

for (const major of testMajors) {
  test(`PostgreSQL ${major}, the primary crashes with WAL that its standby never got, failover and back – every point can be restored`, () =>
    failOverAndBack(major, { crash: true }));
  if (major !== 18)
    test(`PostgreSQL ${major}, failover in order, and back – every point can be restored`, () =>
      failOverAndBack(major, { crash: false }));
}
