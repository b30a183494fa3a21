// Verifies deliveries with the real npm libraries `standardwebhooks` and `svix`.
//
// Owns reading `{secret, headers, body}` lines from stdin and answering a line of booleans for
// each. Must never compute a signature itself. Environment: NODE_MODULES.
import { createRequire } from 'node:module'
import path from 'node:path'
import readline from 'node:readline'

const require = createRequire(path.join(process.env.NODE_MODULES, 'anchor.js'))
const libraries = { standardwebhooks: require('standardwebhooks').Webhook, svix: require('svix').Webhook }

function accepts(Webhook, secret, body, headers) {
  try {
    new Webhook(secret).verify(body, headers)
    return true
  } catch (error) {
    if (error.name !== 'WebhookVerificationError') throw error
    return false
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { secret, headers, body } = JSON.parse(line)
  const answer = { stable: JSON.stringify(JSON.parse(body)) === body }
  for (const [name, Webhook] of Object.entries(libraries)) {
    answer[name] = accepts(Webhook, secret, body, headers)
    answer[`${name} refuses another body`] = !accepts(Webhook, secret, `${body} `, headers)
  }
  console.log(JSON.stringify(answer))
}
