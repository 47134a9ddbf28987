import { test } from 'node:test';
import { failOverAndBack } from '../../../test/failover.ts';

test('PostgreSQL 18, failover to a standby in order, and back – one ledger without a gap, every point before and after can be restored', () =>
  failOverAndBack(18, { crash: false }));
