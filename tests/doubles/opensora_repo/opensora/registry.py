class Registry:
    def __init__(self):
        self.made = {}

    def register_module(self, name):
        def keep(make):
            self.made[name] = make
            return make

        return keep

    def build(self, config):
        config = dict(config)
        return self.made[config.pop("type")](**config)


MODELS, SCHEDULERS = Registry(), Registry()


def build_module(module, builder, **more):
    return builder.build({**module, **more})
