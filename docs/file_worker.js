// Browsers start no Worker on a page that was opened as a file. There, search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      this.ready = new Promise((started) => { this.frame.onload = started })
      this.frame.srcdoc = `<script src="${url}"></script>`
      document.body.append(this.frame)
      this.ready.then(() => {
        this.frame.contentWindow.postMessage = (data) => this.reply(data)
      })
    }
    reply(data) {
      const event = new MessageEvent("message", { data })
      this.dispatchEvent(event)
      if (this.onmessage) this.onmessage(event)
    }
    postMessage(data) {
      this.ready.then(() => {
        const inside = this.frame.contentWindow
        inside.dispatchEvent(new inside.MessageEvent("message", { data }))
      })
    }
    terminate() { this.frame.remove() }
  }
}
