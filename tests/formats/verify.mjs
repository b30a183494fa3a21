// Reads deliveries with the real npm libraries `standardwebhooks`, `svix` and `cloudevents`, and as
// Lancer's SDK does, which is on no registry: it prints the parsed body again and compares.
//
// Owns reading `{format, secret, key, headers, body}` lines from stdin and answering a line of
// booleans for each. Must never compute a signature but Lancer's. Environment: NODE_MODULES.
import { createHmac, timingSafeEqual } from 'node:crypto'
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'

const require = createRequire(path.join(process.env.NODE_MODULES, 'anchor.js'))
const libraries = { standardwebhooks: require('standardwebhooks').Webhook, svix: require('svix').Webhook }
const { CloudEvent, HTTP } = require('cloudevents')

function accepts(Webhook, key, body, headers) {
  try {
    new Webhook(key).verify(body, headers)
    return true
  } catch (error) {
    if (error.name !== 'WebhookVerificationError') throw error
    return false
  }
}

function lancerAccepts(secret, headers, body) {
  const message = `${headers['x-timestamp']}.${JSON.stringify(body)}`
  const expected = createHmac('sha256', secret).update(message).digest('hex')
  return timingSafeEqual(Buffer.from(expected), Buffer.from(headers['x-signature']))
}

function cloudEvent(headers, body) {
  const event = HTTP.toEvent({ headers, body })
  const shown = JSON.parse(body)
  return {
    'cloudevents: one event': event instanceof CloudEvent,
    'cloudevents: valid': event.validate(),
    'cloudevents: attributes': ['id', 'source', 'type', 'subject', 'datacontenttype', 'file', 'previousvalues', 'initiator']
      .every((name) => event[name] === shown[name]),
    'cloudevents: data': JSON.stringify(event.data) === JSON.stringify(shown.data),
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { format, secret, key, headers, body } = JSON.parse(line)
  const answer = { stable: JSON.stringify(JSON.parse(body)) === body }
  for (const [name, Webhook] of Object.entries(libraries)) {
    answer[name] = accepts(Webhook, key, body, headers)
    answer[`${name} refuses another body`] = !accepts(Webhook, key, `${body} `, headers)
  }
  if (format === 'lancer') {
    answer["Lancer's SDK"] = lancerAccepts(secret, headers, JSON.parse(body))
    answer["Lancer's SDK refuses another body"] = !lancerAccepts(secret, headers, { event: 'X' })
  }
  if (format === 'cloudevents') Object.assign(answer, cloudEvent(headers, body))
  console.log(JSON.stringify(answer))
}
