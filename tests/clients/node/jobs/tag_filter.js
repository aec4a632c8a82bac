'use strict';

const { Tally } = require('../env');

const ROUNDS = 40;
const TAGS = [ 'red', 'AaTag', 'green', 'BBTag' ];
const WANTED = [ 'red', 'AaTag' ];

/** A subscription "red || AaTag" gets these tags and no other, not even BBTag, which has AaTag's hash. */
async function run(env) {
  const topic = await env.topic('t');
  const producer = await env.producer();
  const wanted = new Set();
  const send = async prefix => {
    for (let i = 0; i < ROUNDS; i++) {
      for (const tag of TAGS) {
        const id = `${prefix}-${i}-${tag}`;
        await env.sendOk(producer, env.message(topic, tag, id));
        if (WANTED.includes(tag)) {
          wanted.add(id);
        }
      }
    }
  };
  await send('early');
  const tally = new Tally();
  await env.listen(topic, WANTED.join(' || '), id => tally.add(id));
  await env.await('the stored ones that match', 60, () => !tally.missingOf(wanted).length);
  await send('late'); // these meet pulls that wait at the broker
  await env.await('all that match', 60, () => !tally.missingOf(wanted).length);
  tally.mustBe(wanted);
  return `${wanted.size} of ${2 * ROUNDS * TAGS.length} match and came, no other`;
}

module.exports = { run, timeoutS: 90 };
