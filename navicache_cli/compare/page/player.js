// Plays any number of videos in step: one leads, the others follow it closer than half a frame.

class Player {
  /** `fps`: frames per second; `onFrame(frame)`: called when another frame is shown, and while playing. */
  constructor(fps, onFrame) {
    this.fps = fps;
    this.onFrame = onFrame;
    this.videos = [];
    this.playing = false;
    this.resume = false; // Play on when the videos being taken are there.
    this.rate = 1;
    this.frame = 0;
    this.turn = 0; // Grows with each new order, so that what an older one waits for is dropped.
  }

  /** Take other videos, paused at the frame shown now. */
  async take(videos) {
    this.resume ||= this.playing;
    this.pause();
    this.videos = videos;
    await Promise.all(videos.map(loaded));
    if (this.videos !== videos) return;
    this.videos = videos.filter((video) => !video.error);
    await this.go(Math.min(this.frame, this.frames() - 1));
    if (!this.resume) return;
    this.resume = false;
    await this.play();
  }

  /** How many frames there are. */
  frames() {
    const lengths = this.videos.map((video) => video.duration).filter(Number.isFinite);
    return lengths.length ? Math.max(1, Math.round(Math.min(...lengths) * this.fps)) : 1;
  }

  /** Go to a frame; all videos show it when this is over. */
  async go(frame) {
    const turn = ++this.turn;
    this.frame = Math.max(0, Math.min(frame, this.frames() - 1));
    // The middle of the frame's time: its edges may round to the neighbour's.
    await Promise.all(this.videos.map((video) => seek(video, (this.frame + 0.5) / this.fps)));
    if (turn === this.turn) this.onFrame(this.frame);
    return turn === this.turn;
  }

  async play() {
    if (!this.videos.length) return;
    this.playing = true;
    this.onFrame(this.frame);
    await this.start(this.frame >= this.frames() - 1 ? 0 : this.frame);
  }

  pause() {
    this.playing = false;
    this.turn++;
    for (const video of this.videos) video.pause();
    this.onFrame(this.frame);
  }

  /** Stop on the frame shown, all videos on the same. */
  async halt() {
    this.pause();
    await this.go(this.frame);
  }

  async start(frame) {
    for (const video of this.videos) video.pause();
    if (!(await this.go(frame)) || !this.playing) return;
    const turn = this.turn;
    for (const video of this.videos) video.playbackRate = this.rate;
    await Promise.allSettled(this.videos.map((video) => video.play()));
    if (turn === this.turn && this.playing) requestAnimationFrame(() => this.follow(turn));
  }

  /** While playing: keep the others with the first, and begin again at the end, all together. */
  follow(turn) {
    if (turn !== this.turn || !this.playing) return;
    const [leader, ...others] = this.videos;
    const time = leader.currentTime;
    const frame = Math.min(Math.floor(time * this.fps), this.frames() - 1);
    if (leader.ended || time >= this.frames() / this.fps - 0.02) {
      this.start(0);
      return;
    }
    for (const video of others) {
      const ahead = (video.currentTime - time) * this.fps; // in frames
      if (Math.abs(ahead) > 0.9 && !video.seeking) video.currentTime = time;
      // A little slower or faster until it is back; a seek would be seen.
      const wanted = this.rate * (ahead > 0.2 ? 0.8 : ahead < -0.2 ? 1.25 : 1);
      if (video.playbackRate !== wanted) video.playbackRate = wanted;
    }
    this.frame = frame;
    this.onFrame(frame);
    requestAnimationFrame(() => this.follow(turn));
  }
}

/** Wait until a video has a picture, or failed. */
function loaded(video) {
  if (video.readyState >= 2 || video.error) return Promise.resolve();
  return new Promise((done) => {
    for (const event of ["loadeddata", "error"]) video.addEventListener(event, done, { once: true });
  });
}

/** Bring a paused video to a time; over when the picture is there. */
function seek(video, time) {
  if (Math.abs(video.currentTime - time) < 1e-3 && !video.seeking) return Promise.resolve();
  return new Promise((done) => {
    for (const event of ["seeked", "error", "emptied"]) video.addEventListener(event, done, { once: true });
    video.currentTime = time;
  });
}
