'use strict';

const { Tally, check, sleep } = require('../env');

/**
 * Messages arrive once and unchanged (also compressed ones) at a group of two consumers that share them; when one
 * leaves the other gets all; what is sent all the while is consumed.
 */
async function run(env) {
  const topic = await env.topic('t');
  const producer = await env.producer();
  const sent = new Set();
  const tally = new Tally();
  const by = [ 0, 0 ];
  let changed;
  const got = who => (id, message) => {
    by[who]++;
    tally.add(id);
    const body = id === 'big' ? big : `body of ${id}`;
    if (message.body.toString() !== body || message.tags !== 'tag' || !message.msgId) {
      changed = `${id}: ${message.tags} ${message.body.length} bytes`;
    }
  };
  const big = 'compressible '.repeat(8000);
  const bigMessage = env.message(topic, 'tag', 'big');
  bigMessage.body = Buffer.from(big);
  await env.sendOk(producer, bigMessage);
  sent.add('big');

  await env.listen(topic, '*', got(0));
  await env.await('the first consumer gets messages', 40, () => by[0] > 0);
  let stop = false;
  const sending = (async () => {
    for (let i = 0; !stop; i++) {
      await env.sendOk(producer, env.message(topic, 'tag', `m${i}`));
      sent.add(`m${i}`);
      await sleep(5);
    }
  })();
  sending.catch(() => {}); // looked at below
  try {
    const second = await env.listen(topic, '*', got(1));
    await env.await('the second consumer gets messages', 40, () => by[1] > 20);
    const first = by[0];
    await env.await('the first one still gets some', 40, () => by[0] > first);
    await env.leave(second);
    const left = sent.size;
    await env.await('messages after the second left', 20, () => sent.size > left + 40);
  } finally {
    stop = true;
  }
  await sending;
  await env.await('all consumed', 40, () => !tally.missingOf(sent).length);
  check(!changed, changed);
  return `${sent.size} sent and consumed, ${tally.duplicates} twice at the hand-overs, ${by[1]} by the second consumer`;
}

module.exports = { run, timeoutS: 120 };
