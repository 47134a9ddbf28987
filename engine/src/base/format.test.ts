import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatBytes, formatDuration, formatTime, plural, printable, shellWord } from './format.ts';

test('sizes – three digits at most, binary units', () => {
  const shown = [0, 1, 1023, 1024, 1536, 10 * 1024, 123 * 1024, 1024 ** 2, 1.5 * 1024 ** 3].map(formatBytes);
  assert.deepEqual(shown, [
    '0 B',
    '1 B',
    '1023 B',
    '1.00 KiB',
    '1.50 KiB',
    '10.0 KiB',
    '123 KiB',
    '1.00 MiB',
    '1.50 GiB',
  ]);
});

test('any size – the text is within one percent of it', () => {
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (bytes) => {
      const [number, unit] = formatBytes(bytes).split(' ');
      const power = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].indexOf(unit!);
      const back = Number(number) * 1024 ** power;
      assert.ok(Math.abs(back - bytes) <= bytes / 100, `${bytes} → ${formatBytes(bytes)}`);
      assert.ok(Number(number) <= 1024);
    }),
  );
});

test('durations – one or two units', () => {
  const shown = [0, 0.84, 9.94, 9.96, 59.4, 59.6, 72, 3599.4, 3600, 7260, 90_000].map(formatDuration);
  assert.deepEqual(shown, [
    '0.0 s',
    '0.8 s',
    '9.9 s',
    '10 s',
    '59 s',
    '1 min 00 s',
    '1 min 12 s',
    '59 min 59 s',
    '1 h 00 min',
    '2 h 01 min',
    '25 h 00 min',
  ]);
});

test('any time – the text names the same second again', () => {
  fc.assert(
    fc.property(
      fc.date({ min: new Date('1990-01-01'), max: new Date('2100-01-01'), noInvalidDate: true }),
      (time) => {
        const text = formatTime(time)
          .replace(' UTC', 'Z')
          .replace(/ ([+-])/, '$1');
        assert.equal(Math.floor(new Date(text).getTime() / 1000), Math.floor(time.getTime() / 1000), text);
      },
    ),
  );
});

test('plurals – one is special, nought is not', () => {
  assert.deepEqual(
    [plural(0, 'file'), plural(1, 'file'), plural(2, 'file'), plural(3, 'entry', 'entries')],
    ['0 files', '1 file', '2 files', '3 entries'],
  );
});

test('a shell word – bare where it can be, else quoted', () => {
  assert.equal(shellWord('/var/lib/pg-18/main'), '/var/lib/pg-18/main');
  assert.equal(shellWord('/a b'), `'/a b'`);
  assert.equal(shellWord(`it's`), `'it'\\''s'`);
  assert.equal(shellWord(''), `''`);
});

test('a name with control characters – shown, not obeyed', () => {
  assert.equal(printable('a\u001b[31mb\nc\u009b é'), 'a\\u001b[31mb\\u000ac\\u009b é');
  assert.equal(printable('a\u202etxt.exe\u2066'), 'a\\u202etxt.exe\\u2066');
});
